/** What a restore of a domain takes and gives, without the types of the XML, which are none of the library's. */

import type { OperationResult } from '../operation.ts'
import type { RestoreOptions } from '../restore.ts'

/** Who the guest is to be. */
export interface GuestIdentity {
  /** Its name in libvirt; that of the archive by default. */
  name?: string | undefined
  /** Another uuid than the archive's: true for a random one. */
  newUuid?: boolean | string | undefined
}

/** Which archive is restored, and what the domain is to be. */
export interface RestoreDomainOptions
  extends Omit<RestoreOptions, 'from' | 'into' | 'drives' | 'zeroed' | 'salvage'>,
    GuestIdentity {
  /** A path, or another archive that can be read several times. */
  from: string
  /** URI of the libvirt; virsh's own choice by default. */
  connect?: string
  /** The pool for the images; `default` unless this or a folder is named. */
  pool?: string
  /** The folder for the images. */
  into?: string
  /** Format of all images; by default the one that each had. */
  format?: string
  /** Gives the network devices new MAC addresses. */
  newMac?: boolean
  /** Starts the guest. */
  start?: boolean
}

/** What a restore of a domain ends with: the domain, and the paths of its images. */
export interface RestoreDomainResult extends OperationResult {
  domain: { name: string; uuid: string; files: string[]; started: boolean }
}
