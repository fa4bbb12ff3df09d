/** What a fleet has after some nights: works that have ended, and the archives of each guest. It is made by PostgreSQL itself. */

import { KEPT } from './made-up.ts'

/** Nights of which the planner has every work. */
export const NIGHTS = 14

/** SQL that fills an empty database of a planner, for hosts and guests as `names` makes them. */
export function historySql(hosts: number, perHost: number): string {
  const report = `json_build_object('guest', guest, 'outcome', 'done', 'attempts', 1, 'kind', 'incremental', 'places', json_build_array('/srv/nas'),
    'seconds', 200 + random() * 200, 'read', 3e9, 'stored', 1e9 + random() * 1e9, 'longestWait', 0.02, 'verified', true, 'warnings', json_build_array())`
  const guests = `select 'host-' || h as host, 'guest-' || h || '-' || g as guest, h, g
    from generate_series(0, ${hosts - 1}) h, generate_series(0, ${perHost - 1}) g`
  const archive = `json_build_object('place', '/srv/nas' || (h % 2 + 1) || '/' || guest || '/' || guest || '-' || n || '.vma.zst',
    'name', guest || '-' || n || '.vma.zst', 'guest', guest, 'uuid', guest || '-' || n, 'ctime', extract(epoch from now())::bigint - n * 86400,
    'kind', case when n = ${KEPT} then 'full' else 'incremental' end, 'parent', case when n = ${KEPT} then null else guest || '-' || (n + 1) end,
    'size', 2e9::bigint, 'encrypted', true, 'protected', false, 'notes', null,
    'checks', json_build_array(json_build_object('kind', 'verify', 'at', now(), 'passed', true, 'detail', null)))`
  return `
insert into vmapipe.works (id, kind, host, job, guest, due, state, attempt, began, ended, asked, report)
select 'history-' || n || '-' || h || '-' || g, 'run', host, 'nightly', guest, night, case when random() < 0.01 then 'failed' else 'done' end, 1,
  night + g * interval '10 minutes', night + g * interval '10 minutes' + interval '5 minutes', '{}', ${report}
from (${guests}) all_guests, (select n, date_trunc('day', now()) - n * interval '1 day' as night from generate_series(1, ${NIGHTS}) n) nights;
insert into vmapipe.archives (host, place, guest, job, at, content)
select host, '/srv/nas' || (h % 2 + 1), guest, 'nightly', now(),
  (select json_agg(${archive}) from generate_series(1, ${KEPT}) n)
from (${guests}) all_guests;
analyze vmapipe.works;
analyze vmapipe.archives;
`
}
