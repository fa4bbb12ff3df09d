/** The lines of the script that find UEFI's code on the host, and keep a copy of the guest's variables. */

import type { Machine } from '../machine.ts'
import { isQ35, type Note, quoted } from './values.ts'

/** Where distributions keep the code; the one of the right size is used. */
const CODE = [
  '/usr/share/OVMF/OVMF_CODE_4M.fd',
  '/usr/share/OVMF/OVMF_CODE.fd',
  '/usr/share/edk2/ovmf/OVMF_CODE.fd',
  '/usr/share/edk2/x64/OVMF_CODE.4m.fd',
  '/usr/share/edk2-ovmf/x64/OVMF_CODE.fd',
  '/usr/share/qemu/ovmf-x86_64-4m-code.bin',
  '/usr/share/qemu/ovmf-x86_64-code.bin',
  '/usr/share/qemu/edk2-x86_64-code.fd',
  '/usr/share/pve-edk2-firmware/OVMF_CODE_4M.fd',
]
const SECURE_CODE = [
  '/usr/share/OVMF/OVMF_CODE_4M.secboot.fd',
  '/usr/share/OVMF/OVMF_CODE.secboot.fd',
  '/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd',
  '/usr/share/edk2/x64/OVMF_CODE.secboot.4m.fd',
  '/usr/share/qemu/ovmf-x86_64-smm-ms-code.bin',
  '/usr/share/qemu/edk2-x86_64-secure-code.fd',
  '/usr/share/pve-edk2-firmware/OVMF_CODE_4M.secboot.fd',
]

/** Bytes of code and variables together: the two layouts that there are. */
const LAYOUTS = [
  { variables: 540_672, code: 3_653_632 },
  { variables: 131_072, code: 1_966_080 },
]

interface UefiOptions {
  board: string
  note: Note
  /** The file beside the script that has the variables, and its bytes; null if the archive has none. */
  variables: { file: string; size: number } | null
}

/** What is added to `-machine`. */
export function secureOptions(firmware: Machine['firmware'], board: string): string {
  return isSecure(firmware, board) ? ',smm=on' : ''
}

function isSecure(firmware: Machine['firmware'], board: string): boolean {
  return firmware?.kind === 'uefi' && firmware.secureBoot === true && isQ35(board)
}

/** None for a BIOS, which QEMU has itself. */
export function firmwareLines(firmware: Machine['firmware'], { board, note, variables }: UefiOptions): string[] {
  if (firmware?.kind !== 'uefi') return []
  const secure = isSecure(firmware, board)
  if (firmware.secureBoot && !secure) note('Secure Boot needs the machine q35: it is off')
  const layout = LAYOUTS.find(({ variables: bytes }) => (variables?.size ?? bytes) >= bytes)
  if (variables !== null && layout === undefined) note('the variables of UEFI are too small to be any: they begin anew')
  if (variables === null) note('the archive has no variables of UEFI: they begin anew')
  const { variables: bytes, code } = layout ?? LAYOUTS[0]
  const kept = layout !== undefined && variables !== null
  return [
    "# UEFI: the code of this host, and a copy of the guest's variables. UEFI_CODE=FILE names another one.",
    `UEFI_CODE=\${UEFI_CODE:-}`,
    'if [ -z "$UEFI_CODE" ]; then',
    `  for code in ${(secure ? SECURE_CODE : CODE).join(' ')}; do`,
    `    if [ -f "$code" ] && [ "$(wc -c <"$code")" -eq ${code} ]; then UEFI_CODE=$code; break; fi`,
    '  done',
    'fi',
    'if [ -z "$UEFI_CODE" ]; then',
    `  echo "run.sh: no UEFI code of ${code} bytes was found; install it (Debian: ovmf), or set UEFI_CODE" >&2`,
    '  exit 1',
    'fi',
    'if [ ! -e uefi-variables.fd ]; then',
    kept
      ? `  head -c ${bytes} ${quoted(`./${variables.file}`)} >uefi-variables.fd.new`
      : `  cp "$(printf '%s\\n' "$UEFI_CODE" | sed 's/CODE/VARS/; s/\\.secboot//; s/code/vars/')" uefi-variables.fd.new`,
    '  mv uefi-variables.fd.new uefi-variables.fd',
    'fi',
    'set -- "$@" -drive "if=pflash,unit=0,format=raw,readonly=on,file=$(printf \'%s\\n\' "$UEFI_CODE" | sed \'s/,/,,/g\')"',
    `set -- "$@" -drive 'if=pflash,unit=1,format=raw,file=uefi-variables.fd'`,
    ...(secure ? [`set -- "$@" -global 'driver=cfi.pflash01,property=secure,value=on'`] : []),
    '',
  ]
}
