/** Downloads a drive of an archive as a raw image, or one file out of it. The browser's own download shows how far it is. */

import { useState } from 'preact/hooks'
import type { FileRow } from '../../api.ts'
import type { ArchiveContent, ArchiveRow } from '../../house.ts'
import { count, formatBytes } from '../format.ts'
import { Alert, Empty, Loaded } from '../parts/basics.tsx'
import { Dialog, DialogEnd, showDialog } from '../parts/dialog.tsx'
import { Segments } from '../parts/field.tsx'
import { Icon } from '../parts/icons.tsx'
import { address } from '../state/api.ts'
import { useResource } from '../state/resource.ts'

export function askDownload(archive: ArchiveRow): void {
  showDialog(() => <DownloadDialog archive={archive} />)
}

function DownloadDialog({ archive }: { archive: ArchiveRow }) {
  const [what, setWhat] = useState('drives')
  return (
    <Dialog wide title="Download" about={<span class="mono wrap">{archive.name}</span>}>
      <div class="dialog-body">
        <Segments
          label="What to download"
          value={what}
          options={[
            { value: 'drives', text: 'A whole drive' },
            { value: 'files', text: 'One file' },
          ]}
          onValue={setWhat}
        />
        {what === 'drives' ? <Drives archive={archive} /> : <Files archive={archive} />}
        <DialogEnd cancel="Close" />
      </div>
    </Dialog>
  )
}

function Drives({ archive: { host, id } }: { archive: ArchiveRow }) {
  const held = useResource<ArchiveContent>('content', { host, archive: id }, null)
  return (
    <Loaded from={held}>
      {({ drives, problem }) => (
        <>
          {problem && <Alert kind="warn" title={problem} />}
          <ul class="list files">
            {drives.map(({ name, size }) => (
              <li key={name}>
                <a class="file" href={address('download', { host, archive: id, drive: name })} download>
                  <Icon name="download" />
                  <span class="mono">{name}</span>
                  <span class="quiet">{formatBytes(size)}, raw image</span>
                </a>
              </li>
            ))}
          </ul>
        </>
      )}
    </Loaded>
  )
}

/** More entries of a folder than this are not drawn at once: the field finds them. */
const MOST = 500

function Files({ archive: { host, id } }: { archive: ArchiveRow }) {
  // Names, as that of a filesystem may have a slash in it.
  const [steps, setSteps] = useState<string[]>([])
  const [search, setSearch] = useState('')
  const path = `/${steps.join('/')}`
  const held = useResource<FileRow[]>('files', { host, archive: id, path }, null)
  const enter = (to: string[]) => {
    setSteps(to)
    setSearch('')
  }
  const linkTo = (name?: string) =>
    address('download', { host, archive: id, file: `/${[...steps, ...(name === undefined ? [] : [name])].join('/')}` })
  return (
    <div class="form">
      <nav class="crumbs path" aria-label="Folder">
        <button type="button" class="link" onClick={() => enter([])}>
          Filesystems
        </button>
        {steps.map((step, index) => {
          const to = steps.slice(0, index + 1)
          return (
            <span key={to.join('/')}>
              <Icon name="right" size={10} />
              <button type="button" class="link" onClick={() => enter(to)}>
                {step}
              </button>
            </span>
          )
        })}
        {steps.length > 1 && (
          <a class="tar" href={linkTo()} download>
            <Icon name="download" size={14} /> this folder as tar
          </a>
        )}
      </nav>
      <input
        type="search"
        aria-label="Search in this folder"
        placeholder="Search in this folder"
        value={search}
        onInput={(event) => setSearch(event.currentTarget.value)}
      />
      <Loaded key={path} from={held}>
        {(rows) => {
          const found = rows.filter(({ name }) => name.toLowerCase().includes(search.toLowerCase()))
          if (found.length === 0)
            return (
              <Empty icon="folder" title={rows.length === 0 ? 'This folder is empty' : 'Nothing has such a name'} />
            )
          return (
            <>
              <ul class="list files">
                {found.slice(0, MOST).map((row) => (
                  <li key={row.name}>
                    <Entry row={row} link={linkTo(row.name)} enter={() => enter([...steps, row.name])} />
                  </li>
                ))}
              </ul>
              {found.length > MOST && (
                <p class="quiet">and {count(found.length - MOST, 'more', 'more')}: search for them</p>
              )}
            </>
          )
        }}
      </Loaded>
    </div>
  )
}

interface EntryProps {
  row: FileRow
  link: string
  enter: () => void
}

function Entry({ row: { name, folder, size }, link, enter }: EntryProps) {
  if (folder)
    return (
      <button type="button" class="file" onClick={enter}>
        <Icon name="folder" />
        <span>{name}</span>
        <span class="quiet">{size === null ? '' : formatBytes(size)}</span>
        <Icon name="right" size={12} />
      </button>
    )
  return (
    <a class="file" href={link} download>
      <Icon name="file" />
      <span>{name}</span>
      <span class="quiet">{size === null ? '' : formatBytes(size)}</span>
      <Icon name="download" size={14} />
    </a>
  )
}
