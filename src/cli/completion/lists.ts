/**
 * Shell functions that print what a value may be, one a line; of POSIX, for all three shells. What they print comes from others (names of guests,
 * of files), so each shell takes it as data, and never evaluates it. virsh may hang, so it has a second.
 */

/** Where jobs, and sockets of servers, are looked for. */
const JOB_FOLDERS = `/etc/vmapipe/jobs "\${XDG_CONFIG_HOME:-$HOME/.config}/vmapipe/jobs"`
const SOCKET_FOLDERS = `/run/vmapipe /run "\${XDG_RUNTIME_DIR:-/run}"`

/** Scripts for sh, without single quotes. */
export const LISTS = {
  guest: 'timeout 1 virsh --readonly list --all --name 2>/dev/null | grep .',
  control: `for folder in ${SOCKET_FOLDERS}; do for file in "$folder"/*.ctl; do [ -S "$file" ] && printf "%s\\n" "$file"; done; done`,
  job: `for folder in ${JOB_FOLDERS}; do for file in "$folder"/*.yaml "$folder"/*.yml "$folder"/*.json; do [ -f "$file" ] || continue; name=\${file##*/}; printf "%s\\n" "\${name%.*}"; done; done`,
  place: `for folder in ${JOB_FOLDERS}; do sed -n "s/^[- ]*\\(place\\|to\\): *\\([^][{}, ]*[^][{}, ]\\).*/\\2/p; s/.*{ *place: *\\([^,} ]*\\).*/\\1/p" "$folder"/*.yaml 2>/dev/null; done | sort -u`,
} as const
