/** Flags of commands that read or write encrypted archives. */

import { type Command, InvalidArgumentError } from 'commander'
import type { Keyring } from '../codecs/age/keyring.ts'
import { VmapipeError } from '../core/errors.ts'
import type { Encryption } from '../operations/write-archive.ts'
import { collect } from './flags.ts'

/** What opens an encrypted archive. */
export interface KeyFlags {
  identity?: string[]
  passphraseFd?: number
}

/** Who can read the archive that is written. */
export interface RecipientFlags {
  recipient?: string[]
  recipientsFile?: string[]
}

/** Adds the flags of a command that reads archives. */
export function keyFlags(command: Command): Command {
  return identityFlag(command).option(
    '--passphrase-fd <n>',
    'read the passphrase of an encrypted archive from this file descriptor; otherwise it is asked for',
    descriptor,
  )
}

function identityFlag(command: Command): Command {
  return command.option(
    '--identity <file>',
    'the secret key of an encrypted archive, as age-keygen writes it; any number of times; VMAPIPE_IDENTITY_FILE by default',
    collect,
  )
}

/** Adds the flags of a command that writes an archive. */
export function recipientFlags(command: Command): Command {
  return command
    .option('--recipient <key>', 'encrypt for this public key of age (age1…); any number of times', collect)
    .option('-R, --recipients-file <file>', 'encrypt for the public keys in this file; any number of times', collect)
}

/** Adds the flags for a new passphrase, and for reading the archive back. */
export function passphraseFlags(command: Command): Command {
  return identityFlag(
    command
      .option('--passphrase', 'encrypt by a passphrase, which is asked for at the terminal')
      .option('--passphrase-fd <n>', 'encrypt by the passphrase that this file descriptor has', descriptor),
  )
}

/** What these flags say about encryption; undefined if nothing is encrypted. */
export function encryptionOf(
  flags: RecipientFlags & { passphrase?: boolean; passphraseFd?: number },
): Encryption | undefined {
  const { recipient: recipients, recipientsFile: recipientsFiles, passphrase, passphraseFd } = flags
  const isPlain = (recipients ?? recipientsFiles ?? passphrase ?? passphraseFd) === undefined
  return isPlain ? undefined : { recipients, recipientsFiles, passphrase, passphraseFd }
}

/** The keys of these flags. The code for them is loaded only if an archive turns out to be encrypted, or a flag is given. */
export async function keyringOf({ identity, passphraseFd }: KeyFlags): Promise<Keyring | undefined> {
  if (identity === undefined && passphraseFd === undefined) return undefined
  const { Keyring } = await import('../codecs/age/keyring.ts')
  return new Keyring({ identities: identity, passphraseFd })
}

/** Throws USAGE if an archive could not be read back for lack of a key. */
export function refuseUnlessReadableBack({ identity }: KeyFlags): void {
  if (identity !== undefined || process.env.VMAPIPE_IDENTITY_FILE) return
  throw new VmapipeError('USAGE', 'an encrypted archive cannot be read back without its secret key', {
    hint: 'give --identity FILE too, or leave --verify out and verify it where the key is',
  })
}

function descriptor(text: string): number {
  if (!/^\d{1,4}$/.test(text)) throw new InvalidArgumentError('write the number of a file descriptor, such as 3')
  return Number(text)
}
