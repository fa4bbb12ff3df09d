/** Begins a backup of one guest. */

import { useState } from 'preact/hooks'
import type { GuestRow } from '../../../house.ts'
import { closeDialog, Dialog, DialogEnd, showDialog } from '../../parts/dialog.tsx'
import { Check, Choice } from '../../parts/field.tsx'
import { act } from '../../state/toasts.ts'

export function startGuest(row: Pick<GuestRow, 'host' | 'guest' | 'jobs'>): void {
  showDialog(() => <StartGuest {...row} />)
}

function StartGuest({ host, guest, jobs }: Pick<GuestRow, 'host' | 'guest' | 'jobs'>) {
  const [job, setJob] = useState(jobs[0])
  const [full, setFull] = useState(false)
  const start = async (event: Event) => {
    event.preventDefault()
    if (await act({ do: 'start', host, job, guests: [guest], full }, `The backup of ${guest} begins`)) closeDialog()
  }
  return (
    <Dialog title={`Back up ${guest} now`} about={`on ${host}, to the places of its job`}>
      <form class="dialog-body" onSubmit={start}>
        {jobs.length > 1 ? (
          <Choice label="Job" value={job} options={jobs.map((value) => ({ value, text: value }))} onValue={setJob} />
        ) : (
          <p>
            By its job <strong>{job}</strong>. Limits and windows of the job hold for this backup too.
          </p>
        )}
        <Check
          checked={full}
          onChecked={setFull}
          label="Full: everything is read and stored, without any earlier archive"
        />
        <DialogEnd>
          <button type="submit" class="button primary">
            Back up now
          </button>
        </DialogEnd>
      </form>
    </Dialog>
  )
}
