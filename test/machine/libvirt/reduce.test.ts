import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Domain } from '../../../src/machine/libvirt/domain.ts'
import { reduceDomain } from '../../../src/machine/libvirt/reduce.ts'
import { rewriteDomain } from '../../../src/machine/libvirt/rewrite.ts'
import { xmlText } from '../../../src/machine/libvirt/xml.ts'

const UUID = '0e4217d9-62ac-4ca8-80e6-640b8b00f965'

/** The domain as it would be given to libvirt, and what was said. */
function restored(inner: string, { devices = '', attributes = '' } = {}): { xml: string; said: string[] } {
  const said: string[] = []
  const text = `<domain type='kvm' ${attributes}><name>x</name><uuid>${UUID}</uuid><memory unit='MiB'>64</memory>${inner}
    <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/etc/shadow'/>
    <backingStore type='file'><format type='raw'/><source file='/etc/passwd'/></backingStore><target dev='vda' bus='virtio'/></disk>${devices}</devices></domain>`
  const domain = Domain.parse(text)
  reduceDomain(domain, (line) => said.push(line))
  const images = new Map([['vda', { path: '/pool/x-vda.qcow2', format: 'qcow2' }]])
  rewriteDomain(domain, { name: 'x', uuid: UUID, images, loaders: ['/usr/share/OVMF/OVMF_CODE_4M.fd'] }, (line) =>
    said.push(line),
  )
  return { xml: xmlText(domain.document), said }
}

/** Each names something of the host in its own way: a piece of the XML, and what must not be left of it. */
const HOSTILE: [
  what: string,
  xml: { inner?: string; devices?: string; attributes?: string },
  gone: RegExp,
  said: RegExp,
][] = [
  [
    'a PCI device',
    {
      devices:
        "<hostdev mode='subsystem' type='pci'><source><address domain='0' bus='0' slot='1' function='0'/></source></hostdev>",
    },
    /hostdev/,
    /<hostdev mode='subsystem' type='pci'> is left out/,
  ],
  [
    'a folder',
    { devices: "<filesystem type='mount'><source dir='/'/><target dir='root'/></filesystem>" },
    /filesystem|dir=/,
    /<filesystem type='mount'> is left out/,
  ],
  [
    'a kernel',
    {
      inner: '<os><type>hvm</type><kernel>/etc/shadow</kernel><initrd>/etc/shadow</initrd><dtb>/etc/shadow</dtb></os>',
    },
    /shadow/,
    /<kernel> is left out/,
  ],
  [
    'a firmware',
    {
      inner:
        "<os><type>hvm</type><loader type='pflash'>/etc/shadow</loader><nvram template='/etc/shadow'>/etc/shadow</nvram></os>",
    },
    /shadow/,
    /the firmware '\/etc\/shadow' is left out/,
  ],
  [
    'a BIOS',
    { inner: "<os><type>hvm</type><loader type='rom'>/etc/shadow</loader></os>" },
    /shadow/,
    /the firmware '\/etc\/shadow' is left out/,
  ],
  [
    'arguments of QEMU',
    {
      inner:
        "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:arg value='-incoming exec:id'/></qemu:commandline>",
    },
    /commandline|exec:id/,
    /<qemu:commandline.*is left out/,
  ],
  [
    'arguments of QEMU in a default namespace',
    {
      inner:
        "<commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'><arg value='-incoming exec:id'/></commandline>",
    },
    /commandline|exec:id/,
    /<commandline.*is left out/,
  ],
  [
    'arguments of QEMU within what stays whole',
    { inner: "<clock offset='utc'><q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'/></clock>" },
    /commandline/,
    /<q:commandline.*is left out/,
  ],
  [
    'a console that goes to a file',
    { devices: "<serial type='file'><source path='/etc/cron.d/x'/><log file='/etc/cron.d/y'/></serial>" },
    /cron/,
    /its type is 'pty' now/,
  ],
  [
    'a console that goes to the network',
    { devices: "<console type='tcp'><source mode='connect' host='10.0.0.1' service='1'/></console>" },
    /10\.0\.0\.1/,
    /its type is 'pty' now/,
  ],
  [
    'a channel at a path',
    {
      devices:
        "<channel type='unix'><source mode='connect' path='/run/docker.sock'/><target type='virtio' name='a'/></channel>",
    },
    /docker/,
    /^$|channel|disk/,
  ],
  [
    'a script of a network',
    { devices: "<interface type='ethernet'><script path='/tmp/evil'/><target dev='tap0'/></interface>" },
    /evil|tap0/,
    /<script path='\/tmp\/evil'> is left out/,
  ],
  [
    'a network card of the host',
    { devices: "<interface type='direct'><source dev='eth0' mode='passthrough'/></interface>" },
    /eth0|direct/,
    /is not connected any more: type='direct' with 'eth0'/,
  ],
  [
    'a socket for vhost-user',
    { devices: "<interface type='vhostuser'><source type='unix' path='/run/x' mode='client'/></interface>" },
    /\/run\/x/,
    /type='vhostuser'/,
  ],
  [
    'a source of randomness',
    { devices: "<rng model='virtio'><backend model='random'>/dev/sda</backend></rng>" },
    /\/dev\/sda/,
    /'\/dev\/sda', is '\/dev\/urandom' now/,
  ],
  [
    'a TPM of the host',
    { devices: "<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>" },
    /tpm0/,
    /<tpm model='tpm-tis'> is left out: type='passthrough'/,
  ],
  [
    'a state of a TPM elsewhere',
    {
      devices:
        "<tpm model='tpm-crb'><backend type='emulator' version='2.0'><source type='dir' path='/root'/></backend></tpm>",
    },
    /\/root/,
    /<source type='dir' path='\/root'> is left out/,
  ],
  ['an emulator', { devices: '<emulator>/tmp/evil</emulator>' }, /evil/, /^$|/],
  [
    'a screen for all',
    {
      devices:
        "<graphics type='vnc' port='5900' listen='0.0.0.0'><listen type='address' address='0.0.0.0'/></graphics>",
    },
    /0\.0\.0\.0/,
    /listens where libvirt chooses, and not at '0\.0\.0\.0'/,
  ],
  [
    'a socket of a screen',
    {
      devices:
        "<graphics type='spice'><listen type='socket' socket='/etc/x'/><gl enable='yes' rendernode='/dev/dri/x'/></graphics>",
    },
    /\/etc\/x|\/dri\//,
    /<gl .*is left out/,
  ],
  [
    'a screen card of the host',
    { devices: "<video><model type='virtio'><acceleration accel3d='yes' rendernode='/dev/dri/x'/></model></video>" },
    /\/dri\//,
    /<acceleration/,
  ],
  [
    'shared memory',
    { devices: "<shmem name='secret'><model type='ivshmem-plain'/></shmem>" },
    /shmem/,
    /<shmem name='secret'> is left out/,
  ],
  [
    'a persistent memory',
    { devices: "<memory model='nvdimm'><source><path>/etc/shadow</path></source></memory>" },
    /shadow/,
    /<memory model='nvdimm'> is left out/,
  ],
  [
    'a keyboard of the host',
    { devices: "<input type='evdev'><source dev='/dev/input/event0'/></input>" },
    /event0/,
    /<input type='evdev'> is left out/,
  ],
  [
    'sound of the host',
    { devices: "<audio id='1' type='file' path='/etc/x'/>" },
    /\/etc\/x/,
    /<audio id='1' type='file' path='\/etc\/x'> is left out/,
  ],
  ['a dump at a crash', { inner: '<on_crash>coredump-destroy</on_crash>' }, /coredump/, /writes no dump/],
  [
    'a dump by the watchdog',
    { devices: "<watchdog model='i6300esb' action='dump'/>" },
    /dump/,
    /<watchdog .* is left out/,
  ],
  [
    'a table of the firmware in a file',
    { inner: "<sysinfo type='fwcfg'><entry name='opt/x' file='/etc/shadow'/></sysinfo>" },
    /shadow/,
    /<sysinfo type='fwcfg'> is left out/,
  ],
  [
    'memory in a file',
    { inner: "<memoryBacking><source type='file'/><locked/></memoryBacking>" },
    /memoryBacking/,
    /<memoryBacking> is left out/,
  ],
  [
    'processors',
    { inner: "<vcpu cpuset='0-3'>1</vcpu><cputune><vcpupin vcpu='0' cpuset='0'/></cputune>" },
    /cpuset/,
    /<vcpu>: cpuset='0-3' is left out/,
  ],
  ['no confinement', { inner: "<seclabel type='none'/>" }, /seclabel/, /<seclabel type='none'> is left out/],
  [
    'a user',
    { inner: "<seclabel type='static' model='dac'><label>root:root</label></seclabel>" },
    /root:root/,
    /<seclabel/,
  ],
  [
    'hooks, by metadata',
    { inner: "<metadata><h:run xmlns:h='urn:h'>rm</h:run></metadata>" },
    /urn:h|rm</,
    /<h:run .*is left out/,
  ],
  [
    'something that will be invented',
    { inner: '<teleport to="/etc"/>', devices: '<wormhole/>' },
    /teleport|wormhole/,
    /<teleport to='\/etc'> is left out/,
  ],
  [
    'a medium',
    { devices: "<disk type='file' device='cdrom'><source file='/etc/shadow'/><target dev='sda' bus='sata'/></disk>" },
    /shadow/,
    /the drive sda is empty now: its medium '\/etc\/shadow' is left out/,
  ],
  [
    'a disk that the archive lacks',
    { devices: "<disk type='block' device='lun'><source dev='/dev/sda'/><target dev='sdb' bus='scsi'/></disk>" },
    /\/dev\/sda|sdb/,
    /the disk sdb is left out/,
  ],
  [
    'a copy of a disk that goes elsewhere',
    {
      devices:
        "<disk type='file' device='disk'><mirror type='file' file='/etc/x'/><target dev='vdb' bus='virtio'/></disk>",
    },
    /\/etc\/x/,
    /mirror|vdb/,
  ],
  [
    'a controller of the host',
    { devices: "<controller type='scsi' index='0'><driver iothread='1' name='/x1'/><source dev='/y1'/></controller>" },
    /\/x1|\/y1/,
    /<source dev='\/y1'> is left out/,
  ],
]

describe('the XML of a domain that is restored', () => {
  test('names nothing of the host but the images of the restore', () => {
    for (const [what, { inner = '', ...more }, gone, said] of HOSTILE) {
      const now = restored(inner, more)
      assert.doesNotMatch(now.xml, gone, what)
      assert.doesNotMatch(now.xml, /\/etc\//, what)
      assert.match(now.said.join('\n'), said, what)
      assert.match(now.xml, /<source file="\/pool\/x-vda\.qcow2"\/>/, what)
    }
  })

  test('keeps the machine as it is, without a word', () => {
    const inner = `<title>t</title><metadata><libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'><libosinfo:os id='x'/></libosinfo:libosinfo></metadata>
      <currentMemory unit='KiB'>65536</currentMemory><vcpu placement='static' current='1'>2</vcpu><iothreads>1</iothreads>
      <os firmware='efi'><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><firmware><feature enabled='no' name='secure-boot'/></firmware>
        <loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader><bootmenu enable='yes'/></os>
      <features><acpi/><hyperv mode='custom'><relaxed state='on'/></hyperv><smm state='on'/></features>
      <cpu mode='host-passthrough' check='none' migratable='on'><topology sockets='1' dies='1' cores='2' threads='1'/></cpu>
      <clock offset='utc'><timer name='rtc' tickpolicy='catchup'/></clock><on_crash>restart</on_crash><pm><suspend-to-mem enabled='no'/></pm>`
    const devices = `<controller type='scsi' index='0' model='virtio-scsi'><driver queues='2' iothread='1'/><address type='pci' slot='0x03'/></controller>
      <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><model type='virtio'/><boot order='2'/></interface>
      <serial type='pty'><target type='isa-serial' port='0'><model name='isa-serial'/></target></serial>
      <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
      <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm><graphics type='vnc' autoport='yes'><image compression='off'/></graphics>
      <video><model type='qxl' ram='65536' heads='1' primary='yes'/></video><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
      <watchdog model='itco' action='reset'/><memballoon model='virtio'><stats period='5'/></memballoon>`
    const { xml, said } = restored(inner, { devices })
    assert.deepEqual(said, [])
    for (const kept of [
      'libosinfo:os',
      'pc-q35-7.2',
      'secure-boot',
      'relaxed',
      'host-passthrough',
      'tickpolicy',
      'virtio-scsi',
      'br0',
      'org.qemu.guest_agent.0',
      'tpm-crb',
      'qxl',
      '/dev/urandom',
      'itco',
      'OVMF_CODE_4M.fd',
    ])
      assert.ok(xml.includes(kept), `${kept} is there`)
  })

  test('that is no XML of a domain is refused in one line', () => {
    const deep = `<domain>${'<a>'.repeat(5000)}${'</a>'.repeat(5000)}</domain>`
    for (const [text, reason] of [
      [
        '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><domain><name>&x;</name></domain>',
        /has a document type/,
      ],
      ['<domain><name>x</name>', /is no XML/],
      ['', /is no XML/],
      ['<network><name>x</name></network>', /does not describe a domain/],
      ['<domain type="kvm"/>', /has no name/],
      [deep, /more than 100 deep/],
      [`<domain>${'<a/>'.repeat(30_000)}</domain>`, /more than 20000 elements/],
      [`<domain><name>${'x'.repeat(2 << 20)}</name></domain>`, /has more than/],
      ['<domain><name>&undefined;</name></domain>', /is no XML|has no name/],
    ] as const)
      assert.throws(
        () => Domain.parse(text),
        (error: Error & { code?: string }) => error.code === 'DAMAGED' && reason.test(error.message),
        text.slice(0, 60),
      )
  })
})
