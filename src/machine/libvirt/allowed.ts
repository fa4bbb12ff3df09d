/**
 * What may stay of the XML of a domain that came from an archive. The archive may be somebody else's, so this is a list of what is
 * known to be harmless; all else is left out, with a warning. An element stays if it says how the guest's machine looks. It goes if it
 * names a file, a device, a program or a user of the host, if it takes the host's resources away from others (locked memory, pinned
 * processors, priorities), if it weakens what confines QEMU (seclabel), or if only the host's own hooks read it (metadata).
 *
 * Disks, the firmware's files and the network's source are not here: a restore makes them anew (rewrite.ts, sources.ts).
 */

/** `whole`: everything in it is harmless. Otherwise the attributes and children that may stay. */
export interface Allowed {
  whole?: true
  attributes?: readonly string[]
  /** Attributes whose value must be one of these, and the element goes with it if it is not. */
  values?: Record<string, readonly string[]>
  children?: Record<string, Allowed>
}

/** Nothing but the element and its text. */
const bare: Allowed = {}
/** The element with all that is in it: settings of the virtual hardware, which have no place for a name of the host. */
const whole: Allowed = { whole: true }

const attributes = (...names: string[]): Allowed => ({ attributes: names })

/** Where a device is on the guest's buses, its name for the user, and whether it boots. */
const device = {
  address: whole,
  alias: attributes('name'),
  boot: attributes('order', 'loadparm'),
  acpi: attributes('index'),
} satisfies Record<string, Allowed>

/** A serial device: what is at the other end (`source`, `log`) is made anew. */
const serial: Allowed = { attributes: ['type'], children: { ...device, target: whole } }

/** Options of virtio that change what the guest sees; `name` and paths are not among them. */
const driver = attributes(
  'queues',
  'iommu',
  'ats',
  'packed',
  'iothread',
  'cmd_per_lun',
  'max_sectors',
  'ioeventfd',
  'event_idx',
)

/** Elements of a disk that stay, beside what rewrite.ts makes. */
export const DISK: Allowed = {
  attributes: ['type', 'device', 'model'],
  children: {
    ...device,
    target: attributes('dev', 'bus', 'tray', 'removable', 'rotation_rate'),
    driver: attributes(
      'name',
      'type',
      'cache',
      'io',
      'discard',
      'detect_zeroes',
      'queues',
      'iothread',
      'error_policy',
      'rerror_policy',
      'copy_on_read',
      'packed',
      'iommu',
      'ats',
      'event_idx',
      'ioeventfd',
      'queue_size',
    ),
    geometry: whole,
    blockio: whole,
    iotune: whole,
    serial: bare,
    wwn: bare,
    vendor: bare,
    product: bare,
    readonly: bare,
    shareable: bare,
  },
}

const DEVICES: Record<string, Allowed> = {
  disk: DISK,
  controller: {
    attributes: ['type', 'index', 'model', 'ports', 'vectors'],
    children: {
      ...device,
      model: attributes('name'),
      target: { whole: true },
      master: whole,
      driver,
    },
  },
  // network: a network of libvirt. bridge: where guests usually are; it is named to the user. Others name devices of the host.
  interface: {
    attributes: ['type', 'trustGuestRxFilters'],
    values: { type: ['network', 'bridge', 'user'] },
    children: {
      ...device,
      mac: attributes('address', 'type'),
      source: attributes('network', 'bridge', 'portgroup'),
      model: attributes('type'),
      driver: {
        attributes: ['queues', 'rx_queue_size', 'tx_queue_size', 'packed', 'event_idx', 'ioeventfd', 'iommu', 'ats'],
        children: { host: whole, guest: whole },
      },
      link: attributes('state'),
      mtu: attributes('size'),
      rom: attributes('bar', 'enabled'),
      bandwidth: whole,
      filterref: { attributes: ['filter'], children: { parameter: attributes('name', 'value') } },
      port: attributes('isolated'),
    },
  },
  serial: { ...serial, values: { type: ['pty', 'null'] } },
  parallel: { ...serial, values: { type: ['pty', 'null'] } },
  console: { ...serial, values: { type: ['pty', 'null'] } },
  // unix: libvirt chooses the socket if no path is given, as for the guest's agent.
  channel: { ...serial, values: { type: ['pty', 'null', 'unix', 'spicevmc', 'qemu-vdagent'] } },
  // Other kinds are a keyboard or a mouse of the host.
  input: { attributes: ['type', 'bus', 'model'], values: { type: ['tablet', 'mouse', 'keyboard'] }, children: device },
  // The address is libvirt's own choice, which is the host alone.
  graphics: {
    attributes: ['type', 'autoport', 'keymap', 'sharePolicy'],
    values: { type: ['vnc', 'spice'] },
    children: {
      image: whole,
      jpeg: whole,
      zlib: whole,
      playback: whole,
      streaming: whole,
      clipboard: whole,
      mouse: whole,
      filetransfer: whole,
    },
  },
  video: {
    children: {
      ...device,
      model: {
        attributes: ['type', 'ram', 'vram', 'vram64', 'vgamem', 'heads', 'primary', 'blob'],
        children: { resolution: whole },
      },
      driver: attributes('iommu', 'ats', 'packed'),
    },
  },
  sound: { attributes: ['model'], children: { ...device, codec: attributes('type') } },
  // Others play on the host.
  audio: { attributes: ['id', 'type'], values: { type: ['none', 'spice'] } },
  watchdog: {
    attributes: ['model', 'action'],
    values: { action: ['reset', 'shutdown', 'poweroff', 'pause', 'none', 'inject-nmi'] },
    children: device,
  },
  memballoon: {
    attributes: ['model', 'autodeflate', 'freePageReporting'],
    children: { ...device, stats: whole, driver },
  },
  panic: { attributes: ['model'], children: device },
  iommu: { attributes: ['model'], children: { ...device, driver: whole } },
  vsock: { attributes: ['model'], children: { ...device, driver, cid: attributes('auto') } },
  hub: { attributes: ['type'], children: device },
  redirdev: { attributes: ['bus', 'type'], values: { type: ['spicevmc'] }, children: device },
  // Of the backends only swtpm with a state of its own: others are a TPM of the host, or a socket.
  tpm: {
    attributes: ['model'],
    children: {
      ...device,
      backend: {
        attributes: ['type', 'version', 'persistent_state'],
        values: { type: ['emulator'] },
        children: { active_pcr_banks: whole },
      },
    },
  },
  // Another source of randomness than the host's usual one is replaced before.
  rng: { attributes: ['model'], children: { ...device, backend: attributes('model'), rate: whole, driver } },
  // Memory of the guest that is backed by ordinary memory.
  memory: {
    attributes: ['model', 'discard'],
    values: { model: ['dimm'] },
    children: { ...device, target: { children: { size: attributes('unit'), node: bare } } },
  },
}

export const DOMAIN: Allowed = {
  attributes: ['type'],
  values: { type: ['kvm', 'qemu'] },
  children: {
    name: bare,
    uuid: bare,
    title: bare,
    description: bare,
    genid: bare,
    // What kind of system is in the guest, for programs that show it. Other metadata may be read by hooks of the host.
    metadata: {
      children: {
        'libosinfo:libosinfo': { attributes: ['xmlns:libosinfo'], children: { 'libosinfo:os': attributes('id') } },
      },
    },
    memory: attributes('unit', 'dumpCore'),
    currentMemory: attributes('unit'),
    maxMemory: attributes('unit', 'slots'),
    // Not the processors of the host that it runs on (cpuset).
    vcpu: attributes('placement', 'current'),
    vcpus: whole,
    iothreads: bare,
    iothreadids: { children: { iothread: attributes('id', 'thread_pool_min', 'thread_pool_max') } },
    os: {
      attributes: ['firmware'],
      values: { firmware: ['efi', 'bios'] },
      children: {
        type: attributes('arch', 'machine'),
        // Its path is checked and may go: see rewrite.ts.
        loader: attributes('readonly', 'type', 'secure', 'stateless', 'format'),
        firmware: { children: { feature: attributes('enabled', 'name') } },
        nvram: bare,
        boot: attributes('dev'),
        bootmenu: attributes('enable', 'timeout'),
        smbios: attributes('mode'),
        bios: attributes('useserial', 'rebootTimeout'),
      },
    },
    // Tables of the firmware that the guest reads. fwcfg may name a file.
    sysinfo: {
      attributes: ['type'],
      values: { type: ['smbios'] },
      children: {
        bios: whole,
        system: whole,
        baseBoard: whole,
        chassis: whole,
        processor: whole,
        memory: whole,
        oemStrings: whole,
      },
    },
    features: {
      children: Object.fromEntries(
        [
          'acpi',
          'apic',
          'pae',
          'hap',
          'viridian',
          'privnet',
          'hyperv',
          'kvm',
          'xen',
          'pvspinlock',
          'pmu',
          'vmport',
          'gic',
          'smm',
          'ioapic',
          'hpt',
          'vmcoreinfo',
          'htm',
          'nested-hv',
          'msrs',
          'ccf-assist',
          'cfpc',
          'sbbc',
          'ibs',
          'tcg',
          'async-teardown',
        ].map((name) => [name, whole]),
      ),
    },
    cpu: {
      attributes: ['mode', 'match', 'check', 'migratable'],
      children: {
        model: whole,
        vendor: whole,
        topology: whole,
        cache: whole,
        feature: whole,
        maxphysaddr: whole,
        numa: {
          children: {
            cell: {
              attributes: ['id', 'cpus', 'memory', 'unit', 'discard'],
              children: { distances: whole, cache: whole },
            },
            interconnects: whole,
          },
        },
      },
    },
    clock: whole,
    on_poweroff: bare,
    on_reboot: bare,
    on_crash: bare,
    on_lockfailure: bare,
    pm: whole,
    devices: { children: DEVICES },
  },
}

/** Values that are replaced, because they write to the host: a dump of the guest's memory at each crash. */
export const DUMPS = ['coredump-destroy', 'coredump-restart']
