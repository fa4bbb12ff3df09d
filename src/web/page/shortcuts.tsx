/** Keys that work everywhere, and the list of them. */

import { Dialog, DialogEnd, showDialog } from './parts/dialog.tsx'
import { go } from './router.ts'

const VIEWS: Record<string, [view: string, text: string]> = {
  n: ['now', 'Now'],
  g: ['guests', 'Guests'],
  a: ['archives', 'Archives'],
  j: ['jobs', 'Jobs'],
  h: ['hosts', 'Hosts'],
  s: ['settings', 'Settings'],
}

/** The second key must follow within this time. */
const SECOND_MS = 1200

let first = 0

/** Called for keys of the whole page. `hosts`: whether there is that view. */
export function onKey(event: KeyboardEvent, hosts: boolean): void {
  const target = event.target as HTMLElement
  if (event.ctrlKey || event.metaKey || event.altKey) return
  if (target.closest('input, textarea, select, dialog, [role=menu]')) return
  const { key } = event
  const view = VIEWS[key]
  if (Date.now() - first < SECOND_MS && view !== undefined) {
    first = 0
    event.preventDefault()
    if (view[0] !== 'hosts' || hosts) go(view[0])
  } else if (key === 'g') first = Date.now()
  else if (key === '?') showHelp(hosts)
  else if (key === '/') {
    const search = document.querySelector<HTMLInputElement>('[data-search]')
    if (search === null) return
    event.preventDefault()
    search.focus()
    search.select()
  }
}

export function showHelp(hosts: boolean): void {
  showDialog(() => <Help hosts={hosts} />)
}

function Help({ hosts }: { hosts: boolean }) {
  return (
    <Dialog title="Keyboard">
      <div class="dialog-body">
        <dl class="keys">
          {Object.entries(VIEWS)
            .filter(([, [view]]) => hosts || view !== 'hosts')
            .map(([key, [, text]]) => (
              <div key={key}>
                <dt>
                  <kbd>g</kbd> <kbd>{key}</kbd>
                </dt>
                <dd>{text}</dd>
              </div>
            ))}
          <div>
            <dt>
              <kbd>/</kbd>
            </dt>
            <dd>Search in this view</dd>
          </div>
          <div>
            <dt>
              <kbd>?</kbd>
            </dt>
            <dd>This list</dd>
          </div>
          <div>
            <dt>
              <kbd>Esc</kbd>
            </dt>
            <dd>Close a dialog or a menu</dd>
          </div>
          <div>
            <dt>
              <kbd>↑</kbd> <kbd>↓</kbd> <kbd>←</kbd> <kbd>→</kbd>
            </dt>
            <dd>Move in menus and in the calendar</dd>
          </div>
        </dl>
        <DialogEnd cancel="Close" />
      </div>
    </Dialog>
  )
}
