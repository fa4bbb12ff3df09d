/** The address of every view, with things that the made-up house has. */

import type { MadeUpHouse } from '../../support/made-up-house.ts'

export async function allViews(house: MadeUpHouse): Promise<Record<string, string>> {
  const archives = await house.archives({})
  const archive = archives.find(({ checks, guest }) => guest !== null && checks.some(({ picture }) => picture))!
  const run = (await house.runs({ since: '2000-01-01T00:00:00Z' })).find(({ failed }) => failed > 0)!
  const path = (...parts: string[]) => `#/${parts.map(encodeURIComponent).join('/')}`
  return {
    now: '#/now',
    guests: '#/guests',
    guest: path('guest', archive.host, archive.guest!),
    archives: '#/archives',
    archive: path('archive', archive.host, archive.id),
    jobs: '#/jobs',
    job: path('job', run.host, run.job),
    run: path('run', run.host, run.job, run.run),
    hosts: '#/hosts',
    own: '#/settings/own',
    sessions: '#/settings/sessions',
    people: '#/settings/people',
    audit: '#/settings/audit',
  }
}
