/** Models of devices: those that Proxmox knows, and what others become. */

const CARDS = [
  ...['e1000', 'e1000-82540em', 'e1000-82544gc', 'e1000-82545em', 'e1000e', 'i82551', 'i82557b', 'i82559er'],
  ...['ne2k_isa', 'ne2k_pci', 'pcnet', 'rtl8139', 'virtio', 'vmxnet3'],
]
const SCSI = ['lsi', 'lsi53c810', 'virtio-scsi-pci', 'virtio-scsi-single', 'megasas', 'pvscsi']
const SCSI_ALIASES: Readonly<Record<string, string>> = {
  lsi53c895a: 'lsi',
  lsilogic: 'lsi',
  'virtio-scsi': 'virtio-scsi-pci',
  vmpvscsi: 'pvscsi',
}
/** Processors that every version of Proxmox with a web page of these days knows. */
const CPUS =
  /^(host|max|kvm32|kvm64|qemu32|qemu64|x86-64-v[234](-AES)?|EPYC(-[A-Za-z0-9]+){0,2}|Opteron_G[1-5]|(Nehalem|Westmere|SandyBridge|IvyBridge|Haswell|Broadwell|Skylake-Client|Skylake-Server|Cascadelake-Server|Cooperlake|Icelake-Server|SapphireRapids)(-[A-Za-z0-9]+){0,2}|Conroe|Penryn)$/
const DEFAULT_CPU = 'x86-64-v2-AES'

export function modelOfNetwork(model: string, notes: string[]): string {
  const plain = model.replace(/^virtio-net(-pci.*)?$|^virtio-(non-)?transitional$/, 'virtio')
  if (CARDS.includes(plain)) return plain
  notes.push(`a network card of the model ${model} becomes e1000`)
  return 'e1000'
}

export function modelOfScsi(model: string | undefined, notes: string[]): string {
  if (model === undefined) return 'virtio-scsi-pci'
  const plain = model.replace(/-(non-)?transitional$/, '')
  const known = Object.hasOwn(SCSI_ALIASES, plain) ? SCSI_ALIASES[plain] : plain
  if (SCSI.includes(known)) return known
  notes.push(`a SCSI controller of the model ${model} becomes virtio-scsi-pci`)
  return 'virtio-scsi-pci'
}

/** `model`: as QEMU, libvirt or Proxmox names it. */
export function modelOfCpu(model: string | undefined, notes: string[]): string {
  const plain = (model ?? '').replace(/-(x86_64|i386)-cpu$/, '')
  if (/^host(-passthrough|-model)?$/.test(plain)) return 'host'
  if (CPUS.test(plain)) return plain
  const what = model === undefined ? 'the model of the processor is not known' : `a processor of the model ${model}`
  notes.push(`${what}${model === undefined ? ':' : ' becomes'} ${DEFAULT_CPU}`)
  return DEFAULT_CPU
}
