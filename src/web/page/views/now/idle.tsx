/** Nothing runs: what runs next, and when. */

import { count, relativeTime } from '../../format.ts'
import { Empty } from '../../parts/basics.tsx'
import { At } from '../../parts/time.tsx'
import { href } from '../../router.ts'
import { clock } from '../../state/clock.ts'
import { jobRows } from '../../state/data.ts'
import { useFresh } from '../../state/resource.ts'

export function Idle({ quiet }: { quiet: boolean }) {
  const jobs = useFresh(jobRows, 'jobs').data.value
  if (quiet || jobs === undefined) return null
  const coming = jobs
    .flatMap((job) => job.next.slice(0, 1).map((at) => ({ job, at })))
    .sort((a, b) => Date.parse(a.at) - Date.parse(b.at))
  if (coming.length === 0)
    return (
      <Empty icon="now" title={jobs.length === 0 ? 'There are no jobs yet' : 'Nothing runs, and nothing is planned'}>
        {jobs.length === 0 ? (
          <p>
            Write a job file and install it: <code>vmapipe job install nightly.yaml</code>
          </p>
        ) : (
          <p>
            No job has a schedule with a next time. <a href={href('jobs')}>See the jobs</a>
          </p>
        )}
      </Empty>
    )
  const [{ job, at }] = coming
  return (
    <Empty icon="now" title={`All quiet. Next: ${job.job}, ${relativeTime(at, clock.value)}`}>
      <p>
        {job.guests.length > 0 ? count(job.guests.length, 'guest') : 'Its guests'} on {job.host}, <At at={at} />
      </p>
      {coming.length > 1 && (
        <ol class="coming">
          {coming.slice(1, 4).map((next) => (
            <li key={`${next.job.host} ${next.job.job}`}>
              <a href={href('job', [next.job.host, next.job.job])}>{next.job.job}</a>
              <span class="quiet">{next.job.host}</span>
              <At at={next.at} />
            </li>
          ))}
        </ol>
      )}
    </Empty>
  )
}
