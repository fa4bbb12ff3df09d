/** What can be done with an archive. */

import type { Action, ArchiveRow } from '../../../house.ts'
import { askDownload } from '../../forms/download.tsx'
import { askNote } from '../../forms/note.tsx'
import { askRestore } from '../../forms/restore.tsx'
import { confirm } from '../../parts/dialog.tsx'
import { Menu, type MenuItem } from '../../parts/menu.tsx'
import { ability } from '../../state/session.ts'
import { act } from '../../state/toasts.ts'

type What = Action['do'] | 'download'

/** Each with whether it can be done: for menus and for the page of the archive. */
export function archiveActions(archive: ArchiveRow): (MenuItem & { what: What })[] {
  const { host, id, name } = archive
  return [
    { what: 'restore', icon: 'restore', text: 'Restore …', run: () => askRestore(archive) },
    { what: 'download', icon: 'download', text: 'Download …', run: () => askDownload(archive) },
    {
      what: 'verify',
      icon: 'shield',
      text: 'Verify',
      run: () => void act({ do: 'verify', host, archive: id }, `${name} is being verified`),
    },
    {
      what: 'boot',
      icon: 'screen',
      text: 'Boot test',
      run: () => void act({ do: 'boot', host, archive: id }, `${name} is being booted, without a network`),
    },
    { what: 'note', icon: 'note', text: archive.notes ? 'Edit note …' : 'Add note …', run: () => askNote(archive) },
    {
      what: 'protect',
      icon: 'lock',
      text: archive.protected ? 'Unprotect …' : 'Protect',
      run: () => protect(archive),
    },
  ]
}

function protect({ host, id, name, protected: on }: ArchiveRow): void {
  const action = { do: 'protect', host, archive: id, on: !on } as const
  if (!on) return void act(action, `${name} is protected`)
  confirm({
    title: 'Take the protection away?',
    button: 'Unprotect',
    danger: true,
    run: () => act(action, `${name} is no longer protected`),
    children: (
      <>
        <p class="mono wrap">{name}</p>
        <p>
          The next prune may remove it, if the rules of the job do not keep it. Its parents, which it needs, may go then
          too.
        </p>
      </>
    ),
  })
}

export function ArchiveMenu({ archive }: { archive: ArchiveRow }) {
  const items = archiveActions(archive).map(({ what, ...item }) => {
    const { can, why } = ability(what, archive.host)
    return can || why !== null ? { ...item, why } : null
  })
  return <Menu label={`Actions for the archive ${archive.name}`} items={items} />
}
