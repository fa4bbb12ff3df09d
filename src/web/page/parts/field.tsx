/** Fields of forms: a label, a hint, an error. */

import type { ComponentChildren } from 'preact'
import { useId } from 'preact/hooks'

interface FieldProps {
  label: string
  hint?: ComponentChildren
  value: string
  onValue: (value: string) => void
  type?: 'text' | 'password'
  mono?: boolean
  placeholder?: string
  required?: boolean
  autoComplete?: string
  autoFocus?: boolean
  minLength?: number
}

export function Field({ label, hint, value, onValue, mono, type = 'text', ...rest }: FieldProps) {
  // The types of inputs know no kind that is chosen later.
  const kind = { type } as { type: 'text' }
  const id = useId()
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        class={mono ? 'mono' : ''}
        value={value}
        spellcheck={false}
        aria-describedby={hint ? `${id}-hint` : undefined}
        onInput={(event) => onValue(event.currentTarget.value)}
        {...kind}
        {...rest}
      />
      {hint && (
        <span class="hint" id={`${id}-hint`}>
          {hint}
        </span>
      )}
    </div>
  )
}

interface ChoiceProps {
  label: string
  value: string
  options: readonly { value: string; text: string }[]
  onValue: (value: string) => void
  /** The label is for screen readers alone. */
  quiet?: boolean
}

export function Choice({ label, value, options, onValue, quiet }: ChoiceProps) {
  const id = useId()
  return (
    <div class="field">
      <label for={id} class={quiet ? 'visually-hidden' : ''}>
        {label}
      </label>
      <select id={id} value={value} onChange={(event) => onValue(event.currentTarget.value)}>
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.text}
          </option>
        ))}
      </select>
    </div>
  )
}

export function Check(props: { label: ComponentChildren; checked: boolean; onChecked: (on: boolean) => void }) {
  return (
    <label class="check">
      <input
        type="checkbox"
        checked={props.checked}
        onChange={(event) => props.onChecked(event.currentTarget.checked)}
      />
      <span>{props.label}</span>
    </label>
  )
}

interface SegmentsProps {
  label: string
  value: string
  options: readonly { value: string; text: ComponentChildren }[]
  onValue: (value: string) => void
}

/** A few choices side by side, of which one holds. */
export function Segments({ label, value, options, onValue }: SegmentsProps) {
  const name = useId()
  return (
    <fieldset class="segments">
      <legend class="visually-hidden">{label}</legend>
      {options.map((option) => (
        <label key={option.value} class={option.value === value ? 'on' : ''}>
          <input
            type="radio"
            name={name}
            value={option.value}
            checked={option.value === value}
            onChange={() => onValue(option.value)}
          />
          <span>{option.text}</span>
        </label>
      ))}
    </fieldset>
  )
}
