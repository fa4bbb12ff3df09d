/** Begins a run of a job: of all its guests, or of some. */

import { useState } from 'preact/hooks'
import type { JobRow } from '../../house.ts'
import { count } from '../format.ts'
import { closeDialog, Dialog, DialogEnd, showDialog } from '../parts/dialog.tsx'
import { Check, Segments } from '../parts/field.tsx'
import { jobRows } from '../state/data.ts'
import { act } from '../state/toasts.ts'

export function startJob(row: JobRow): void {
  showDialog(() => <StartJob row={row} />)
}

/** More than this are found by the field alone. */
const MOST = 200

function StartJob({ row }: { row: JobRow }) {
  const { host, job } = row
  // The guests of a job that is new are still being looked for.
  const { guests, places } = jobRows.data.value?.find((one) => one.host === host && one.job === job) ?? row
  const [which, setWhich] = useState('all')
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set())
  const [search, setSearch] = useState('')
  const [full, setFull] = useState(false)
  const found = guests.filter((guest) => guest.toLowerCase().includes(search.toLowerCase()))
  const number = which === 'all' ? guests.length : chosen.size
  const start = async (event: Event) => {
    event.preventDefault()
    const some = which === 'all' ? {} : { guests: [...chosen] }
    if (await act({ do: 'start', host, job, ...some, full }, `${job} begins on ${host}`)) closeDialog()
  }
  const toggle = (guest: string, on: boolean) => {
    const next = new Set(chosen)
    if (on) next.add(guest)
    else next.delete(guest)
    setChosen(next)
  }
  return (
    <Dialog title={`Start ${job}`} about={`on ${host}${places.length > 0 ? `, to ${places.join(', ')}` : ''}`}>
      <form class="dialog-body" onSubmit={start}>
        <Segments
          label="Which guests"
          value={which}
          options={[
            { value: 'all', text: `All (${guests.length.toLocaleString('en')})` },
            { value: 'some', text: 'Chosen guests' },
          ]}
          onValue={setWhich}
        />
        {which === 'some' && (
          <div class="form">
            <input
              type="search"
              aria-label="Search guests of the job"
              placeholder="Search"
              value={search}
              onInput={(event) => setSearch(event.currentTarget.value)}
            />
            <ul class="choose">
              {found.slice(0, MOST).map((guest) => (
                <li key={guest}>
                  <Check label={guest} checked={chosen.has(guest)} onChecked={(on) => toggle(guest, on)} />
                </li>
              ))}
            </ul>
            {found.length > MOST && (
              <p class="quiet">and {count(found.length - MOST, 'more', 'more')}: search for them</p>
            )}
          </div>
        )}
        <Check
          checked={full}
          onChecked={setFull}
          label="Full: everything is read and stored, without any earlier archive"
        />
        <DialogEnd>
          <button type="submit" class="button primary" disabled={which === 'some' && chosen.size === 0}>
            Start {number > 0 ? count(number, 'backup') : ''}
          </button>
        </DialogEnd>
      </form>
    </Dialog>
  )
}
