import type { FleetState, HostState } from './state.ts'
import type { WorkDesk } from './work-desk.ts'

/** A host is to tell all archives at the places of its jobs. It is not asked again before it has fetched that. */
export function askForArchives(host: HostState, state: FleetState, desk: WorkDesk): void {
  const isAsked = state.worksOfHost(host.name).some(({ kind, state }) => kind === 'report' && state === 'sent')
  if (!isAsked) desk.ask('report', host, { asked: { archives: true } })
}
