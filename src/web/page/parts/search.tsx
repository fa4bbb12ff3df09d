/** A field to search in a list. The key / goes there. */

import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { Icon } from './icons.tsx'

const PAUSE_MS = 120

export function Search({ value, label, onValue }: { value: string; label: string; onValue: (text: string) => void }) {
  const id = useId()
  const [text, setText] = useState(value)
  // What was typed meanwhile must not be undone when our own value comes back.
  const sent = useRef(value)
  useEffect(() => {
    if (value !== sent.current) setText(value)
    sent.current = value
  }, [value])
  useEffect(() => {
    if (text === value) return
    const timer = setTimeout(() => {
      sent.current = text
      onValue(text)
    }, PAUSE_MS)
    return () => clearTimeout(timer)
  }, [text])
  return (
    <search class="search">
      <label for={id} class="visually-hidden">
        {label}
      </label>
      <Icon name="search" size={14} />
      <input
        id={id}
        type="search"
        data-search
        placeholder={label}
        value={text}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => event.key === 'Escape' && event.currentTarget.blur()}
      />
      {/* biome-ignore lint/a11y/noAriaHiddenOnFocusable: it is not focusable */}
      <kbd aria-hidden="true">/</kbd>
    </search>
  )
}
