/**
 * The public API of vmapipe.
 *
 *   backup, restore, verify, readManifest    whole operations, as functions
 *   backupGuest, serve, drives, detach,
 *   abort                                    a running guest: its backup, and the server that is its disk
 *   exportArchive, LiveRestore,
 *   readPartitions                           the drives of an archive before they are restored, or without
 *   openArchive, cat                         the drives of an archive, to read in any order
 *   filesystems, listFiles, extractFiles     single files of a guest in an archive
 *   restoreDomain, restoreQemu               a guest that can be started again: in libvirt, or by a script
 *   loadJob, runJob                          what is done every night: many guests, within limits
 *   definePipeline, defineStage              pipelines and stages of your own
 *   toNodeStream, toWebStream                a pipeline with an open end as plain streams of Node or the web
 */

export type { Archive } from './access/archive.ts'
export type { ImageReader } from './access/image-reader.ts'
export { chainSource } from './chain/chain-source.ts'
export type { DriveRoot } from './chain/root.ts'
export { Keyring, type KeyringOptions } from './codecs/age/keyring.ts'
export { bindStage, stages } from './config/registry.ts'
export type { Arena } from './core/arena.ts'
export type { Behind } from './core/behind.ts'
export { Budget, type Lease, type Slab, type TakeOptions } from './core/budget.ts'
export { Census, type DriveReport } from './core/census.ts'
export type { ClusterRange } from './core/cluster-set.ts'
export { Counters } from './core/counters.ts'
export { type ErrorCode, type ErrorDetails, EXIT_CODES, VmapipeError, type Where } from './core/errors.ts'
export {
  type ByteRange,
  type ClusterSpan,
  type CompressionFindings,
  type Damage,
  type DriveFindings,
  Findings,
} from './core/findings.ts'
export type { ForeignStage, PipelineStage, StageFunction } from './core/foreign.ts'
export { BLOCK_SIZE, BLOCKS_PER_CLUSTER, CLUSTER_SIZE } from './core/geometry.ts'
export {
  Chunk,
  type ClusterItem,
  type ConfigFile,
  type DriveInfo,
  type Gap,
  type Item,
  type Kind,
  Manifest,
  Range,
  type RangeItem,
  Run,
} from './core/items.ts'
export type { Snapshot } from './core/meter.ts'
export { type PipelineStreams, toNodeStream, toWebStream } from './core/node-stream.ts'
export {
  definePipeline,
  type Fitting,
  type Misfit,
  type Pipeline,
  type RunOptions,
  type RunResult,
} from './core/pipeline.ts'
export { byteRate, byteSize } from './core/size-option.ts'
export {
  type AnyStageDefinition,
  type AnyStageFactory,
  type BodyOf,
  type BoundStage,
  type Destination,
  defineStage,
  type Input,
  type ItemsByKind,
  type Many,
  type Misplacement,
  type None,
  type Output,
  type Push,
  type SinkBody,
  type SourceBody,
  type StageBody,
  type StageContext,
  type StageDefinition,
  type StageFactory,
  type Step,
  type StepResult,
  type SurroundedRun,
  type TransformBody,
  z,
} from './core/stage.ts'
export type { Bottleneck, RunStats, StageStats } from './core/stats.ts'
export { many, none, stepWithFlush } from './core/steps.ts'
export type { ReadableLike, WritableLike } from './core/stream-kinds.ts'
export type { WebStreamPair } from './core/web-body.ts'
export { loadJob } from './jobs/file/load.ts'
export type { GuestEntry, Job, PlaceEntry } from './jobs/file/schema.ts'
export type { GuestReport, RunReport } from './jobs/report.ts'
export type { GuestPhase, GuestProgress, RunEvent } from './jobs/run/events.ts'
export type { RunJobOptions } from './jobs/run/job-options.ts'
export type { LatencyView } from './jobs/run/latency.ts'
export { runJob } from './jobs/run-job.ts'
export type { ServiceStatus } from './live/control/controlled-service.ts'
export { guestSource } from './live/guest/guest-source.ts'
export type { GuestListener } from './live/guest/options.ts'
export type { GuestStatus } from './live/guest-figures.ts'
export type { Inventory, QemuDrive } from './live/qemu/inventory/discovery.ts'
export type { Missing } from './live/restore/filler.ts'
export type { WaitingFigures } from './live/waiting.ts'
export { type AbortOptions, abort } from './operations/abort.ts'
export { type ArchiveReport, DamagedArchive, type DriveVerdict, type Ranges } from './operations/archive-report.ts'
export { type BackupOptions, backup } from './operations/backup.ts'
export { type BackupGuestOptions, backupGuest } from './operations/backup-guest.ts'
export { type BootOptions, type BootResult, bootArchive } from './operations/boot/boot-archive.ts'
export type { MachineChoices } from './operations/boot/guest-machine.ts'
export { type CatOptions, cat } from './operations/cat.ts'
export type { Compression } from './operations/compression.ts'
export { type CopiedArchive, type CopyOptions, copy } from './operations/copy.ts'
export { type DetachOptions, type DetachReport, detach } from './operations/detach.ts'
export { drives } from './operations/drives.ts'
export { type ArchiveExport, type ExportOptions, exportArchive } from './operations/export.ts'
export type { EntryType, FileEntry } from './operations/files/entry.ts'
export type { Filesystem } from './operations/files/filesystems.ts'
export type { Extracted } from './operations/files/to-folder.ts'
export type { Packed } from './operations/files/to-tar.ts'
export { extractFiles, type FilesOptions, filesystems, listFiles, packFiles } from './operations/files.ts'
export { type IndexOptions, type IndexReport, indexArchive } from './operations/index-archive.ts'
export type { GuestIdentity, RestoreDomainOptions, RestoreDomainResult } from './operations/libvirt/domain-options.ts'
export { LiveRestore, type LiveRestoreOptions } from './operations/live-restore.ts'
export { readManifest } from './operations/manifest.ts'
export type { MonitorOptions } from './operations/monitor-options.ts'
export { type OpenArchiveOptions, openArchive } from './operations/open-archive.ts'
export type { OperationOptions, OperationResult } from './operations/operation.ts'
export { type Partition, type PartitionsOptions, type PartitionTable, readPartitions } from './operations/partitions.ts'
export { type BackupProxmoxOptions, backupProxmox } from './operations/proxmox/backup-proxmox.ts'
export type { RandomReadingOptions } from './operations/random-reading.ts'
export type { ReadingOptions } from './operations/read-archive.ts'
export { type RepackOptions, repack } from './operations/repack.ts'
export { type RestoreOptions, restore } from './operations/restore.ts'
export { type RestoreConfigsOptions, restoreConfigs } from './operations/restore-configs.ts'
export { restoreDomain } from './operations/restore-domain.ts'
export { type RestoreQemuOptions, restoreQemu } from './operations/restore-qemu.ts'
export type { BackupResult } from './operations/run-backup.ts'
export { type DiskServer, type ServeOptions, serve } from './operations/serve.ts'
export { type VerifyResult, verify } from './operations/verify.ts'
export { type ChainVerdict, type VerifyChainOptions, verifyChain } from './operations/verify-chain.ts'
export type { AnotherPlace, Encryption, WritingOptions } from './operations/write-archive.ts'
export { census } from './stages/census.ts'
export { changeFilter } from './stages/change-filter.ts'
export { clusterSource } from './stages/cluster-source.ts'
export { clusterWriter } from './stages/cluster-writer.ts'
export { compressor } from './stages/compressor.ts'
export { decompressor } from './stages/decompressor.ts'
export { decryptor } from './stages/decryptor.ts'
export { delay } from './stages/delay.ts'
export { driveFilter } from './stages/drive-filter.ts'
export { encryptor } from './stages/encryptor.ts'
export { exec } from './stages/exec.ts'
export { fault } from './stages/fault.ts'
export { hash } from './stages/hash.ts'
export { joiner } from './stages/joiner.ts'
export { progress } from './stages/progress.ts'
export { rateLimit } from './stages/rate-limit.ts'
export { sink } from './stages/sink.ts'
export { source } from './stages/source.ts'
export { splitter } from './stages/splitter.ts'
export { tee } from './stages/tee.ts'
export { type VerifyReport, verifier } from './stages/verifier.ts'
export { vmaDeframer } from './stages/vma-deframer.ts'
export { vmaFramer } from './stages/vma-framer.ts'
export { type Guest, writeInterceptor } from './stages/write-interceptor.ts'
export { zeroElider } from './stages/zero-elider.ts'
export { zeroExpander } from './stages/zero-expander.ts'
export type { ObjectOptions } from './storage/archive/s3/object-options.ts'
export type { Disk, Done, ReadOptions, WriteOptions, ZeroOptions } from './storage/disk.ts'
export type { DriveExtent, DriveReader, DriveWriter } from './storage/drive.ts'
export { openDriveReader, openDriveWriter, type ReaderOptions, type WriterOptions } from './storage/open.ts'
export { type DiskOptions, openDisk } from './storage/open-disk.ts'
