/** One job: what it does, when, and what became of its runs. */

import type { JobRow } from '../../../house.ts'
import { count, promised } from '../../format.ts'
import { askPrune } from '../../forms/prune.tsx'
import { startJob } from '../../forms/start.tsx'
import { ActButton } from '../../parts/act-button.tsx'
import { Alert, Badge, Figure, Head, Loaded, Section } from '../../parts/basics.tsx'
import { Ago, At } from '../../parts/time.tsx'
import { href } from '../../router.ts'
import { jobRows } from '../../state/data.ts'
import { useFresh } from '../../state/resource.ts'
import { History } from './history.tsx'
import { OutcomeBadge } from './outcome.tsx'

export function Job({ host, job }: { host: string; job: string }) {
  const held = useFresh(jobRows, 'jobs')
  const row = held.data.value?.find((each) => each.host === host && each.job === job)
  return (
    <>
      <Head
        title={job}
        above={[{ text: 'Jobs', link: href('jobs') }]}
        about={`on ${host}${row?.description ? ` · ${row.description}` : ''}`}
      >
        {row && (
          <>
            <ActButton what="prune" host={host} icon="prune" text="Prune …" run={() => askPrune({ host, job })} />
            <ActButton what="start" host={host} icon="running" text="Start …" primary run={() => startJob(row)} />
          </>
        )}
      </Head>
      <Loaded from={held}>
        {() =>
          row ? <About row={row} /> : <Alert kind="info" title="This job is no longer there; its history is below" />
        }
      </Loaded>
      <History host={host} job={job} />
    </>
  )
}

function About({ row }: { row: JobRow }) {
  const { host, schedule, next, window, places, guests, promise, problem, last, central } = row
  return (
    <>
      {problem && <Alert kind="bad" title={problem} />}
      <div class="card">
        <dl class="figures">
          <Figure name="Next run" sub={next[0] && <At at={next[0]} />}>
            <Ago at={next[0] ?? null} none="not planned" />
          </Figure>
          <Figure name="Schedule" sub={window ? `window ${window}` : central ? 'file at the planner' : undefined}>
            <span class="mono">{schedule.join(', ') || 'by hand'}</span>
          </Figure>
          <Figure name="Promise">{promise === null ? 'none' : `every ${promised(promise)}`}</Figure>
          <Figure name="Last run" sub={last && <Ago at={last.ended} />}>
            {last === null ? (
              'never'
            ) : (
              <a class="plain" href={href('run', [host, row.job, last.run])}>
                <OutcomeBadge outcome={last.outcome} />
              </a>
            )}
          </Figure>
          <Figure name="Places">{places.join(', ') || '–'}</Figure>
        </dl>
      </div>
      <Section title="Its guests" note={count(guests.length, 'guest')}>
        {guests.length === 0 ? (
          <p class="quiet">No guest is chosen by this job now.</p>
        ) : (
          <Names host={host} guests={guests} />
        )}
      </Section>
    </>
  )
}

const MOST = 60

function Names({ host, guests }: { host: string; guests: string[] }) {
  return (
    <p class="tags">
      {guests.slice(0, MOST).map((guest) => (
        <a key={guest} href={href('guest', [host, guest])}>
          <Badge tone="plain">{guest}</Badge>
        </a>
      ))}
      {guests.length > MOST && (
        <a href={href('guests', [], { host })}>and {(guests.length - MOST).toLocaleString('en')} more</a>
      )}
    </p>
  )
}
