/** Edits the note of an archive. */

import { useState } from 'preact/hooks'
import type { ArchiveRow } from '../../house.ts'
import { closeDialog, Dialog, DialogEnd, showDialog } from '../parts/dialog.tsx'
import { act } from '../state/toasts.ts'

export function askNote(archive: ArchiveRow): void {
  showDialog(() => <Note archive={archive} />)
}

function Note({ archive: { host, id, name, notes } }: { archive: ArchiveRow }) {
  const [text, setText] = useState(notes ?? '')
  const save = async (event: Event) => {
    event.preventDefault()
    const said = text === '' ? 'The note is removed' : 'The note is kept with the archive'
    if (await act({ do: 'note', host, archive: id, text, was: notes ?? '' }, said)) closeDialog()
  }
  return (
    <Dialog title="Note" about={<span class="mono wrap">{name}</span>}>
      <form class="dialog-body" onSubmit={save}>
        <div class="field">
          <label for="note">What people should know of this archive</label>
          <textarea id="note" rows={5} value={text} onInput={(event) => setText(event.currentTarget.value)} />
          <span class="hint">It is kept beside the archive. An empty note is removed.</span>
        </div>
        <DialogEnd>
          <button type="submit" class="button primary">
            Save
          </button>
        </DialogEnd>
      </form>
    </Dialog>
  )
}
