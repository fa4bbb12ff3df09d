/** The status of a service as Prometheus wants it. */

import { Counter, Gauge, Registry } from 'prom-client'
import type { ServiceStatus } from './controlled-service.ts'

export async function metricsOf(status: ServiceStatus): Promise<{ contentType: string; text: string }> {
  const registry = new Registry()
  const gauge = (name: string, help: string, value: number) =>
    new Gauge({ name: `vmapipe_${name}`, help, registers: [registry] }).set(value)
  const counter = (name: string, help: string, value: number) =>
    new Counter({ name: `vmapipe_${name}_total`, help, registers: [registry] }).inc(value)
  nbd(status, gauge, counter)
  backup(status, gauge)
  const drives = new Gauge({
    name: 'vmapipe_drive_bytes',
    help: 'Size of a drive',
    labelNames: ['drive'],
    registers: [registry],
  })
  for (const { name, size } of status.drives) drives.set({ drive: name }, size)
  upstreams(status, registry)
  return { contentType: registry.contentType, text: await registry.metrics() }
}

function upstreams({ drives }: ServiceStatus, registry: Registry): void {
  const served = drives.filter(({ upstream }) => upstream !== undefined)
  if (served.length === 0) return
  const common = { labelNames: ['drive' as const], registers: [registry] }
  const connected = new Gauge({
    name: 'vmapipe_upstream_connected',
    help: 'Whether the server that a drive is on is there',
    ...common,
  })
  const reconnects = new Counter({
    name: 'vmapipe_upstream_reconnects_total',
    help: 'How often the server that a drive is on came back',
    ...common,
  })
  for (const { name, upstream } of served) {
    connected.set({ drive: name }, upstream!.connected ? 1 : 0)
    reconnects.inc({ drive: name }, upstream!.reconnects)
  }
}

type Set = (name: string, help: string, value: number) => void

function nbd({ nbd: stats, started }: ServiceStatus, gauge: Set, counter: Set): void {
  gauge('start_time_seconds', 'When the server began', started)
  gauge('nbd_connections', 'Clients that are connected', stats.connections)
  gauge('nbd_requests_in_flight', 'Requests that are not answered yet', stats.inFlight)
  counter('nbd_reads', 'Reads of guests', stats.reads)
  counter('nbd_writes', 'Writes of guests', stats.writes)
  counter('nbd_flushes', 'Flushes of guests', stats.flushes)
  counter('nbd_trims', 'Trims of guests', stats.trims)
  counter('nbd_zeroes', 'Zeroing requests of guests', stats.zeroes)
  counter('nbd_read_bytes', 'Bytes that guests have read', stats.bytesRead)
  counter('nbd_written_bytes', 'Bytes that guests have written', stats.bytesWritten)
  counter('nbd_errors', 'Requests that were answered with an error', stats.errors)
}

function backup({ backup, last }: ServiceStatus, gauge: Set): void {
  gauge('backup_running', 'Whether a backup runs', backup === null ? 0 : 1)
  gauge('backup_last_end_time_seconds', 'When the last backup ended', last?.ended ?? 0)
  gauge('backup_last_complete', 'Whether the last backup is whole', last?.complete ? 1 : 0)
  const status = backup ?? last?.status
  if (status === undefined) return
  gauge('backup_clusters', 'Clusters of the backup that runs, or of the last one', status.clusters.total)
  gauge('backup_clusters_scanned', 'Of these, archived by the scan', status.clusters.scanned)
  gauge('backup_clusters_copied', 'Of these, archived before a write of the guest', status.clusters.copied)
  gauge('backup_requests_waited', 'Requests of the guest that waited for a copy', status.waiting.count)
  gauge('backup_wait_p50_seconds', 'How long they waited: median', status.waiting.p50 / 1000)
  gauge('backup_wait_p99_seconds', 'How long they waited: 99th percentile', status.waiting.p99 / 1000)
  gauge('backup_wait_max_seconds', 'How long they waited: longest', status.waiting.max / 1000)
  gauge('backup_buffer_used_bytes', 'Old data in memory', status.buffer.used)
  gauge('backup_buffer_bytes', 'Old data that may be in memory', status.buffer.size)
}
