/** What happens now: problems, each backup that runs, the guests that wait, tasks; or what runs next. */

import type { NowRow, NowView } from '../../../house.ts'
import { count } from '../../format.ts'
import { Alert, Badge, Head, Loaded, Section } from '../../parts/basics.tsx'
import { href } from '../../router.ts'
import { nowView } from '../../state/data.ts'
import { useFresh } from '../../state/resource.ts'
import { Announcer } from './announcer.tsx'
import { Idle } from './idle.tsx'
import { Running } from './running.tsx'
import { Tasks } from './tasks.tsx'
import { Waiting } from './waiting.tsx'

const ENDED = ['done', 'failed', 'skipped', 'canceled']
const WAITING = ['waiting', 'retry']

export function Now() {
  const held = useFresh(nowView, 'now')
  return (
    <>
      <Head title="Now" about={held.data.value && <Summary now={held.data.value} />} />
      <Loaded from={held}>{(now) => <Content now={now} />}</Loaded>
    </>
  )
}

function Summary({ now }: { now: NowView }) {
  const running = now.rows.filter(isRunning).length
  const waiting = now.rows.filter(({ phase }) => WAITING.includes(phase)).length
  const tasks = now.tasks.filter(({ state }) => state === 'running').length
  const parts = [
    running > 0 ? `${count(running, 'backup')} running` : 'No backup is running',
    waiting > 0 && `${count(waiting, 'guest')} waiting`,
    tasks > 0 && `${count(tasks, 'task')} running`,
  ]
  return <>{parts.filter(Boolean).join(' · ')}</>
}

const isRunning = ({ phase }: NowRow) => !ENDED.includes(phase) && !WAITING.includes(phase)

function Content({ now }: { now: NowView }) {
  const running = now.rows.filter(isRunning)
  const waiting = now.rows.filter(({ phase }) => WAITING.includes(phase))
  const ended = now.rows.filter(({ phase }) => ENDED.includes(phase))
  return (
    <>
      <Announcer rows={running} />
      {now.problems.length > 0 && (
        <section class="problems" aria-label="Problems">
          {now.problems.map((problem) => (
            <Alert key={problem} kind="warn">
              <p>{problem}</p>
            </Alert>
          ))}
        </section>
      )}
      {running.length > 0 ? (
        <section class="stack" aria-label="Running backups">
          {running.map((row) => (
            <Running key={row.id} row={row} />
          ))}
        </section>
      ) : (
        <Idle quiet={waiting.length > 0} />
      )}
      {waiting.length > 0 && <Waiting rows={waiting} />}
      {ended.length > 0 && <Ended rows={ended} />}
      {now.tasks.length > 0 && <Tasks tasks={now.tasks} />}
    </>
  )
}

/** Guests of runs that go on, which are done already. */
function Ended({ rows }: { rows: NowRow[] }) {
  const tone = { done: 'good', failed: 'bad', skipped: 'plain', canceled: 'plain' } as const
  return (
    <Section title="Ended in these runs" note={count(rows.length, 'guest')}>
      <ul class="list">
        {rows.map((row) => (
          <li key={row.id} class="list-row">
            <Badge
              tone={tone[row.phase as keyof typeof tone]}
              icon={row.phase === 'done' ? 'good' : row.phase === 'failed' ? 'failed' : 'info'}
            >
              {row.phase}
            </Badge>
            <a class="name" href={href('guest', [row.host, row.guest])}>
              {row.guest}
            </a>
            <span class="quiet">
              {row.job} · {row.host}
            </span>
            {row.reason && <span class="reason">{row.reason}</span>}
          </li>
        ))}
      </ul>
    </Section>
  )
}
