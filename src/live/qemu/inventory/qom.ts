/** QEMU's object model, as far as it is asked: what a property is, and which children an object has. */

import { objectsOf, textOf } from '../../../protocol/json.ts'
import { type QmpClient, qmpErrorClass } from '../../../protocol/qmp/client.ts'

/** Runs QMP commands. */
export type Monitor = Pick<QmpClient, 'execute'>

/** The property's value; undefined if there is no such object or property, or QEMU cannot tell. */
export async function qomGet(monitor: Monitor, path: string, property: string): Promise<unknown> {
  return refusedAsUndefined(monitor.execute('qom-get', { path, property }))
}

/** The same; also undefined if the value is no text or empty. */
export async function qomText(monitor: Monitor, path: string, property: string): Promise<string | undefined> {
  return textOf(await qomGet(monitor, path, property))
}

interface QomChild {
  name: string
  /** Name of its class: `virtio-blk-pci`. */
  type: string
  path: string
}

/** Children of the object in QEMU's order; none if there is no such object. */
export async function qomChildren(monitor: Monitor, path: string): Promise<QomChild[]> {
  const properties = await refusedAsUndefined(monitor.execute('qom-list', { path }))
  return objectsOf(properties).flatMap((property) => {
    const [, type] = /^child<(.+)>$/.exec(textOf(property.type) ?? '') ?? []
    const name = textOf(property.name)
    return type === undefined || name === undefined ? [] : [{ name, type, path: `${path}/${name}` }]
  })
}

/** What the command returns; undefined if QEMU itself refuses it. Other errors stay errors. */
export async function refusedAsUndefined(answer: Promise<unknown>): Promise<unknown> {
  try {
    return await answer
  } catch (error) {
    if (qmpErrorClass(error) === undefined) throw error
    return undefined
  }
}
