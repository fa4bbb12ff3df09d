/** Short messages at the edge of the page. If a dialog is open they are within it: what is behind a dialog cannot be reached. */

import { dismiss, toasts } from '../state/toasts.ts'
import { Icon } from './icons.tsx'

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map(({ id, kind, text, hint }) => (
        <div key={id} class={`toast ${kind}`}>
          <Icon name={kind === 'done' ? 'good' : 'failed'} />
          <div>
            <p>{text}</p>
            {hint && <p class="quiet">{hint}</p>}
          </div>
          <button
            type="button"
            class="button ghost icon-only"
            aria-label="Close this message"
            onClick={() => dismiss(id)}
          >
            <Icon name="close" size={14} />
          </button>
        </div>
      ))}
    </div>
  )
}
