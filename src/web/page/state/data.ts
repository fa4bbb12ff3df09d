/** What several views show. Kept while the page is open, so that going back is quick. */

import type { GuestRow, HostRow, JobRow, NowView } from '../../house.ts'
import { resource } from './resource.ts'

export const nowView = resource<NowView>('now')
export const guestRows = resource<GuestRow[]>('guests')
export const jobRows = resource<JobRow[]>('jobs')
export const hostRows = resource<HostRow[]>('hosts')
