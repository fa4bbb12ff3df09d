/** A button for something that this house may not be able to do, or this person may not: then why stands in its place, or nothing. */

import { useId } from 'preact/hooks'
import type { Action } from '../../house.ts'
import { ability } from '../state/session.ts'
import { Icon, type IconName } from './icons.tsx'

interface ActButtonProps {
  what: Action['do'] | 'download'
  icon: IconName
  text: string
  /** For screen readers, if the text alone does not say of what. */
  label?: string
  primary?: boolean
  small?: boolean
  danger?: boolean
  /** The host that `why` speaks of. */
  host?: string
  run: () => void
}

export function ActButton({ what, icon, text, label, primary, small, danger, host, run }: ActButtonProps) {
  const id = useId()
  const { can, why } = ability(what, host)
  if (why !== null)
    return (
      <details class="why">
        <summary class={`button ${small ? 'small' : ''}`} aria-describedby={id}>
          <Icon name={icon} size={small ? 14 : 16} />
          {text}
          <Icon name="info" size={13} />
        </summary>
        <div class="why-text" id={id}>
          {why}
        </div>
      </details>
    )
  if (!can) return null
  return (
    <button
      type="button"
      class={`button ${primary ? 'primary' : ''} ${small ? 'small' : ''} ${danger ? 'danger-text' : ''}`}
      aria-label={label}
      onClick={run}
    >
      <Icon name={icon} size={small ? 14 : 16} />
      {text}
    </button>
  )
}
