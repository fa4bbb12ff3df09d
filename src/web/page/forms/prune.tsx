/** Prune: first the plan with what goes, what stays and why; then the button that does just that plan. */

import { useState } from 'preact/hooks'
import type { PruneView } from '../../house.ts'
import { count, formatBytes } from '../format.ts'
import { Badge, Empty, Loaded } from '../parts/basics.tsx'
import { closeDialog, Dialog, DialogEnd, showDialog } from '../parts/dialog.tsx'
import { href } from '../router.ts'
import { useResource } from '../state/resource.ts'
import { act } from '../state/toasts.ts'

interface Asked {
  host: string
  job: string
  guest?: string
}

export function askPrune(asked: Asked): void {
  showDialog(() => <Prune {...asked} />)
}

function Prune({ host, job, guest }: Asked) {
  const held = useResource<PruneView>('prune-plan', { host, job, guest }, null)
  return (
    <Dialog
      wide
      title={guest === undefined ? `Prune by ${job}` : `Prune archives of ${guest}`}
      about={`By what the job ${job} on ${host} says under keep. Nothing is removed before you say so.`}
    >
      <div class="dialog-body">
        <Loaded from={held}>
          {(plan) => <Plan plan={plan} asked={{ host, job, guest }} again={() => held.refresh()} />}
        </Loaded>
      </div>
    </Dialog>
  )
}

interface PlanProps {
  plan: PruneView
  asked: Asked
  /** Asks for the plan as it is now. */
  again: () => Promise<void>
}

function Plan({ plan, asked, again }: PlanProps) {
  const [busy, setBusy] = useState(false)
  const goes = plan.rows.filter(({ stays }) => !stays)
  const stays = plan.rows.filter((row) => row.stays)
  const remove = async (event: Event) => {
    event.preventDefault()
    setBusy(true)
    const said = `${count(goes.length, 'archive')} ${goes.length === 1 ? 'is' : 'are'} being removed`
    if (await act({ do: 'prune', ...asked, token: plan.token }, said)) closeDialog()
    else await again()
    setBusy(false)
  }
  if (goes.length === 0)
    return (
      <>
        <Empty icon="good" title="There is nothing to remove">
          <p>
            {stays.length === 0
              ? 'No archives are known at the places of the job.'
              : `The rules of the job keep ${stays.length === 1 ? 'the one archive' : `all ${count(stays.length, 'archive')}`} that there ${stays.length === 1 ? 'is' : 'are'}.`}
          </p>
        </Empty>
        <DialogEnd cancel="Close" />
      </>
    )
  return (
    <form class="form" onSubmit={remove}>
      <p class="plan-sum">
        <strong>{count(goes.length, 'archive')}</strong> with <strong>{formatBytes(plan.bytes)}</strong> would be
        removed for ever, {stays.length.toLocaleString('en')} would stay.
      </p>
      <PlanRows title={`Goes (${goes.length})`} host={asked.host} rows={goes} open />
      <PlanRows title={`Stays (${stays.length})`} host={asked.host} rows={stays} />
      <p class="quiet">
        If anything has changed meanwhile, such as a new archive or a protection, what has changed is not removed.
      </p>
      <DialogEnd cancel="Remove nothing">
        <button type="submit" class="button danger" disabled={busy}>
          Remove {count(goes.length, 'archive')}
        </button>
      </DialogEnd>
    </form>
  )
}

/** More than this are told as a number: nobody reads them here. */
const MOST = 300

interface PlanRowsProps {
  title: string
  host: string
  rows: PruneView['rows']
  open?: boolean
}

function PlanRows({ title, host, rows, open }: PlanRowsProps) {
  if (rows.length === 0) return null
  return (
    <details class="plan" open={open}>
      <summary>{title}</summary>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it is scrolled with the keyboard too */}
      <section class="plan-rows" tabIndex={0} aria-label={title}>
        <ul class="list">
          {rows.slice(0, MOST).map((row) => (
            <li key={`${row.place} ${row.archive}`} class="plan-row">
              <Badge tone={row.stays ? 'good' : 'bad'} icon={row.stays ? 'good' : 'prune'}>
                {row.stays ? 'stays' : 'goes'}
              </Badge>
              <span class="plan-name">
                <a class="mono wrap" href={href('archive', [host, row.archive])}>
                  {row.place.slice(row.place.lastIndexOf('/') + 1)}
                </a>
                <small class="quiet">
                  {row.place.slice(0, row.place.lastIndexOf('/'))}
                  {row.reasons.length > 0 && ` · ${row.reasons.join(', ')}`}
                </small>
              </span>
              <span class="plan-size">{formatBytes(row.size)}</span>
            </li>
          ))}
        </ul>
        {rows.length > MOST && <p class="quiet">and {count(rows.length - MOST, 'more', 'more')}</p>}
      </section>
    </details>
  )
}
