/** What people do: the actions of the house, the plan before a prune, and the command that does the same as the form of a restore. */

import { VmapipeError } from '../../../core/errors.ts'
import type { Action, House } from '../../house.ts'
import { ACTION, describeAction, QUERIES, RESTORE_FORM } from '../action-schema.ts'
import { bodyOf, json, queryOf, Refusal } from '../answers.ts'
import { ACTION_NEEDS, permits } from '../roles.ts'
import { type Route, sessionOf, type Web, type WebContext } from '../web.ts'

export const actionRoutes: readonly Route[] = [
  { method: 'GET', path: '/api/prune-plan', need: 'operate', handle: prunePlan },
  { method: 'POST', path: '/api/restore-command', need: 'operate', handle: restoreCommand },
  // The action may need more.
  { method: 'POST', path: '/api/act', need: 'operate', handle: act },
]

async function prunePlan(c: WebContext, { house }: Web): Promise<Response> {
  const { host, job, guest } = queryOf(c, QUERIES.prunePlan)
  refuseIfUnable(house, 'prune', host)
  return json(c, await house.prunePlan(host, job, guest))
}

async function restoreCommand(c: WebContext, { house }: Web): Promise<Response> {
  const form = await bodyOf(c, RESTORE_FORM)
  return json(c, { command: await house.restoreCommand(form) })
}

async function act(c: WebContext, { house, audit }: Web): Promise<Response> {
  const action: Action = await bodyOf(c, ACTION)
  const { user, role } = sessionOf(c)
  const about = { who: user, from: c.get('asker').from, what: action.do, detail: describeAction(action) }
  const need = ACTION_NEEDS[action.do]
  if (!permits(role, need)) {
    await audit.add({ ...about, outcome: 'refused' })
    throw new Refusal(403, 'ROLE', `this needs the role '${need}'`, { hint: 'ask an administrator' })
  }
  refuseIfUnable(house, action.do, 'host' in action ? action.host : '')
  try {
    const id = await house.act(action, user)
    await audit.add({ ...about, outcome: 'done' })
    return json(c, { id })
  } catch (error) {
    const reason = error instanceof VmapipeError ? error.message : 'see the log of the server'
    await audit.add({ ...about, detail: `${about.detail}: ${reason}`, outcome: 'failed' })
    throw error
  }
}

/** Throws if this house cannot do it, with the command that can. */
function refuseIfUnable({ abilities }: House, what: Action['do'], host: string): void {
  if (abilities.actions.includes(what)) return
  const hint = abilities.why[what]?.replaceAll('{host}', host)
  throw new Refusal(400, 'USAGE', `'${what}' is not possible here`, { ...(hint !== undefined && { hint }) })
}
