/** Restores an archive: to new images, to a new guest of libvirt, or as a folder for QEMU. The command that does the same is shown as one types. */

import { useEffect, useRef, useState } from 'preact/hooks'
import type { ArchiveContent, ArchiveRow, RestoreForm } from '../../house.ts'
import { exactTime, formatBytes } from '../format.ts'
import { Alert, Loaded } from '../parts/basics.tsx'
import { Command } from '../parts/copy.tsx'
import { closeDialog, Dialog, DialogEnd, showDialog } from '../parts/dialog.tsx'
import { Check, Field, Segments } from '../parts/field.tsx'
import { CallError, post } from '../state/api.ts'
import { useResource } from '../state/resource.ts'
import { session } from '../state/session.ts'
import { act } from '../state/toasts.ts'

export function askRestore(archive: ArchiveRow): void {
  showDialog(() => <Restore archive={archive} />)
}

function Restore({ archive }: { archive: ArchiveRow }) {
  const held = useResource<ArchiveContent>('content', { host: archive.host, archive: archive.id }, null)
  const of = archive.guest ?? archive.name
  return (
    <Dialog
      wide
      title={`Restore ${of}`}
      about={`${archive.at === null ? archive.name : `As it was on ${exactTime(archive.at)}`}, on ${archive.host}. What is there now is not touched: everything is made new.`}
    >
      <Loaded from={held}>{(content) => <Form archive={archive} content={content} />}</Loaded>
    </Dialog>
  )
}

type Way = 'images' | 'domain' | 'qemu'

const PAUSE_MS = 250

function Form({ archive, content }: { archive: ArchiveRow; content: ArchiveContent }) {
  const name = archive.guest ?? content.guest ?? 'guest'
  // As a guest of libvirt and a folder may be called; what was typed by people is told if it is wrong.
  const plain =
    name
      .replace(/[^\p{L}\p{N}_.+-]+/gu, '-')
      .replace(/^[-.+]+|-+$/g, '')
      .slice(0, 80) || 'guest'
  const [way, setWay] = useState<Way>('images')
  const [domain, setDomain] = useState(`${plain}-restored`)
  const into = session.value?.house?.abilities.restoreTo ?? '/srv/restore'
  const inside = `${into}/${plain}`
  const [folder, setFolder] = useState(`${inside}-restored`)
  const [qemu, setQemu] = useState(inside)
  const [images, setImages] = useState<Record<string, string>>(() =>
    Object.fromEntries(content.drives.map((drive) => [drive.name, `${inside}-${drive.name.replaceAll('/', '-')}.raw`])),
  )
  const [left, setLeft] = useState<ReadonlySet<string>>(new Set())
  const chosen = content.drives.filter((drive) => !left.has(drive.name))
  const form: RestoreForm = {
    host: archive.host,
    archive: archive.id,
    drives: way === 'images' ? Object.fromEntries(chosen.map((drive) => [drive.name, images[drive.name]])) : {},
    ...(way === 'domain' ? { domain: { name: domain, folder } } : {}),
    ...(way === 'qemu' ? { qemu: { folder: qemu } } : {}),
  }
  const { command, problem } = useCommand(form)
  const start = async (event: Event) => {
    event.preventDefault()
    if (await act({ do: 'restore', form }, `The restore of ${name} begins`)) closeDialog()
  }
  return (
    <form class="dialog-body" onSubmit={start}>
      {content.problem && <Alert kind="warn" title={content.problem} />}
      <Segments
        label="Restore to"
        value={way}
        options={[
          { value: 'images', text: 'New images' },
          { value: 'domain', text: 'New libvirt guest' },
          { value: 'qemu', text: 'QEMU folder' },
        ]}
        onValue={(value) => setWay(value as Way)}
      />
      {way === 'images' && (
        <div class="form">
          {content.drives.map((drive) => (
            <div key={drive.name} class="drive">
              <Check
                checked={!left.has(drive.name)}
                onChecked={(on) =>
                  setLeft(
                    on ? new Set([...left].filter((each) => each !== drive.name)) : new Set([...left, drive.name]),
                  )
                }
                label={
                  <>
                    <span class="mono">{drive.name}</span> <span class="quiet">{formatBytes(drive.size)}</span>
                  </>
                }
              />
              {!left.has(drive.name) && (
                <Field
                  mono
                  required
                  label={`New image for ${drive.name}`}
                  value={images[drive.name]}
                  onValue={(value) => setImages({ ...images, [drive.name]: value })}
                />
              )}
            </div>
          ))}
        </div>
      )}
      {way === 'domain' && (
        <div class="form">
          <Field
            required
            label="Name of the new guest"
            hint="It gets a new uuid and new MAC addresses, so that both can run."
            value={domain}
            onValue={setDomain}
          />
          <Field mono required label="New folder for its images" value={folder} onValue={setFolder} />
        </div>
      )}
      {way === 'qemu' && (
        <Field
          mono
          required
          label="New folder"
          hint="Gets images, configuration and a run.sh that starts the guest."
          value={qemu}
          onValue={setQemu}
        />
      )}
      <div class="field">
        <span class="label">The command that does the same</span>
        {command !== null && <Command text={command} label="Restore command" />}
        {problem && (
          <p class="hint bad" role="alert">
            {problem}
          </p>
        )}
      </div>
      <DialogEnd>
        <button
          type="submit"
          class="button primary"
          disabled={problem !== null || (way === 'images' && chosen.length === 0)}
        >
          Restore
        </button>
      </DialogEnd>
    </form>
  )
}

/** The command for the form as it is now. A late answer of an earlier form is not shown. */
function useCommand(form: RestoreForm): { command: string | null; problem: string | null } {
  const [told, tell] = useState<{ command: string | null; problem: string | null }>({ command: null, problem: null })
  const asked = JSON.stringify(form)
  const last = useRef('')
  useEffect(() => {
    last.current = asked
    const ask = async () => {
      try {
        const { command } = await post<{ command: string }>('restore-command', form)
        if (last.current === asked) tell({ command, problem: null })
      } catch (error) {
        const problem =
          error instanceof CallError ? [error.message, error.hint].filter(Boolean).join(': ') : String(error)
        // The command of an earlier form would do something else.
        if (last.current === asked) tell({ command: null, problem })
      }
    }
    const timer = setTimeout(ask, PAUSE_MS)
    return () => clearTimeout(timer)
  }, [asked])
  return told
}
