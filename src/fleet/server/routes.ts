/** What every route does: it reads a message, asks the fleet, and answers with JSON. */

import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context } from 'hono'
import type * as z from 'zod'
import { type BodyRoom, checkMessage, parseMessage, USUAL_BYTES } from './body.ts'
import type { Env } from './gate.ts'

/** The message in the body. */
export function messageOf<T>(
  context: Context<Env>,
  room: BodyRoom,
  schema: z.ZodType<T>,
  most = USUAL_BYTES,
): Promise<T> {
  return room.read(context.env.incoming, context.var.sender, most, (bytes) => parseMessage(schema, bytes))
}

/** What is behind the ? of the address. Of a name that is there twice the first counts. */
export function queryOf<T>(context: Context<Env>, schema: z.ZodType<T>): T {
  return checkMessage(schema, context.req.query())
}

/** Written at once: a hundred heartbeats a second are answered, and a Response, whose body is a stream, costs more than all that is done for one. */
export function answer(context: Context<Env>, value: unknown): Response {
  const body = Buffer.from(JSON.stringify(value))
  const headers = { 'Content-Type': 'application/json', 'Content-Length': body.length, 'Cache-Control': 'no-store' }
  context.env.outgoing.writeHead(200, headers).end(body)
  return RESPONSE_ALREADY_SENT
}

/** Done, and there is nothing to say. */
export function done(): Response {
  return new Response(null, { status: 204, headers: { 'Cache-Control': 'no-store' } })
}
