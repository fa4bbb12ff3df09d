/**
 * The scripts that run on the other side of ssh. They need POSIX sh with cat, wc, tail, tr, dd, sync, ln, mv, rm and ls, which busybox
 * has too. With flock, stat -f, cksum and `test -ef` (GNU, busybox) the file is locked while it is written, and abandoned files are
 * removed. Without them these files stay, and without find no message names them. With stat and grep no image is replaced that a guest
 * there has open.
 *
 * It is not known which shell reads the command line there. So the line is the same for every archive, and nothing in it has a special
 * meaning to sh, csh or fish: it has no single quote, `!`, backslash or newline. Names come on standard input instead, one a line, with
 * %b escapes for all characters that are not plain. The script answers in lines that begin with the nonce that it was given. Other lines
 * are output of startup files of the shell.
 */

import { LOCAL_FILESYSTEMS } from '../local-filesystems.ts'

/** Characters of a nonce. It also ends the archive on its way: see WRITE. */
export const NONCE_LENGTH = 32

/** Reads the nonce and the path, and can answer. */
export const READ_WORDS = [
  'LC_ALL=C; export LC_ALL; umask 077; set -f;',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
  'name() { IFS= read -r word; word=$(printf %b. "$word"); word=${word%.}; };',
  'say() { echo "$n $*"; };',
  'fail() { say "$@"; exit 3; };',
  'name; n=$word; name; f=$word;',
  'if [ -d "$f" ]; then fail folder; fi;',
]

/** Types of local filesystems. Only there all processes that see a file see its lock too (partial-lock.ts). */
const LOCAL_TYPES = Object.values(LOCAL_FILESYSTEMS).map((type) => type.toString(16))

/** Parses the name of a partial file of ours, which has a right checksum (partial-name.ts). Gives $place and $target. */
const IS_OURS = [
  'sums=0; command -v cksum >/dev/null 2>&1 && sums=1;',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
  'parse() { b=${1##*/}; r=${b%.partial}; tok=${r##*.}; target=${r%.*};',
  'case $tok in ????????????????-????????-????????) ;; *) return 1;; esac;',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
  'place=${tok#*-}; place=${place%-*};',
  'if [ $sums = 0 ]; then return 0; fi;',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
  'sum=$(printf %s "${r%-*}" | cksum) && [ "$(printf %08x "${sum%% *}")" = "${tok##*-}" ]; };',
]

/**
 * Removes and names abandoned files in the folder (abandoned-files.ts). Removes nothing without flock(1) and cksum(1). If it cannot tell
 * whether a file is abandoned, it names the file if it is for the same target, or old. Does nothing if it may not list the folder.
 */
const CLEAR = [
  'dead() { (flock -n 9 && [ "$1" -ef /dev/fd/9 ] && rm -f "$1") 9<>"$1"; };',
  'held() { if (flock -n 9) 9<>"$1"; then return 1; fi; };',
  'clear() { if [ -h "$1" ] || [ "$1" = "$t" ]; then return; fi;',
  'parse "$1" || return 0;',
  'if [ $locks$sums = 11 ] && [ $place = 00000000 ] && [ -f "$1" ] && [ -O "$1" ]; then',
  'if dead "$1"; then say removed "$1"; return; fi;',
  'if held "$1"; then if [ "$target" = ".$base" ]; then say busy "$1"; fi; return; fi; fi;',
  'if [ "$target" = ".$base" ] || [ -n "$(find "$1" -prune -mmin +60)" ]; then say left "$1"; fi; };',
  'set +f; for l in "$d".*.partial; do set -f; if [ -e "$l" ]; then clear "$l" 2>/dev/null; fi; done; set -f;',
]

/**
 * Makes the file, and locks it as long as this shell runs. If another run has removed it before it was locked, makes it again. Without
 * locks its name tells so.
 */
const MAKE = [
  `case "$(stat -f -c %t "$d" 2>/dev/null)" in ${LOCAL_TYPES.join('|')}) locks=1;; *) locks=0;; esac;`,
  'command -v flock >/dev/null 2>&1 || locks=0;',
  'if [ $locks = 0 ]; then t=$u; fi;',
  'make() { (set -C; : >"$t") || fail create; exec 9<>"$t"; i=$(inode "$t");',
  'if [ $locks = 1 ]; then flock 9 2>/dev/null || { rm -f "$t"; locks=0; t=$u; return 1; }; fi; is "$t"; };',
  'make || make || fail create;',
]

/**
 * Refuses a file among the devices or in place of one, and to replace an image that is in use there by QEMU's locks
 * (guard/image-lock.ts). Finds the locks in /proc/locks, because a shell has no call for them. Without it the locks are unknown.
 */
const GUARD = [
  'real=$(cd "$d" 2>/dev/null && pwd -P); case $real/ in /dev/shm/*) ;; /dev/*) fail device;; esac;',
  'if [ -f "$f" ] || [ -h "$f" ]; then :; elif there; then fail notfile; fi;',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
  'used() { s=000$(stat -L -c %D:%i "$f" 2>/dev/null) || return 1; dv=${s%:*}; ma=${dv%??}; mi=${dv#"$ma"};',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
  'grep -q "OFDLCK.* $(printf %02x 0x$ma):$mi:${s#*:} [12]0[0-3] " /proc/locks 2>/dev/null; };',
]

/**
 * Writes the archive under a temporary name, and gives it its final name only if the nonce came last: without it, a broken connection
 * or a killed sender would look like the end of the archive. Only the file that was made gets the name, even if another one has been
 * put in its place meanwhile.
 */
const WRITE = [
  ...READ_WORDS,
  'name; t=$word; name; u=$word; name; base=$word; name; force=$word;',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
  'd=${f%/*}/;',
  'there() { [ -e "$f" ] || [ -h "$f" ]; };',
  'inode() { set -- $(ls -di "$1" 2>/dev/null); echo "$1"; };',
  'is() { [ -n "$i" ] && [ "$(inode "$1")" = "$i" ]; };',
  'if [ -d "$d" ]; then :; else fail nofolder; fi;',
  ...GUARD,
  'if [ "$force" = 0 ] && there; then fail exists; fi;',
  'if used; then fail used; fi;',
  ...MAKE,
  // The connection may be gone: answers that cannot be sent must not keep the script from cleaning up.
  'clean() { if is "$t"; then rm -f "$t"; fi; }; trap clean EXIT; trap "exit 4" HUP INT TERM; trap "" PIPE;',
  ...IS_OURS,
  ...CLEAR,
  'say ready;',
  'cat >&9 || fail write;',
  'is "$t" || fail swapped;',
  `if [ "$(tail -c ${NONCE_LENGTH} "$t" | tr -d "[:cntrl:]")" = "$n" ]; then :; else fail cut; fi;`,
  `z=$(wc -c <"$t") && z=$((z - ${NONCE_LENGTH})) && dd if=/dev/null of="$t" bs=1 seek=$z 2>/dev/null || fail write;`,
  'if [ $(wc -c <"$t") -eq $z ]; then :; else fail write; fi;',
  'sync "$t" 2>/dev/null || sync || fail sync;',
  'is "$t" || fail swapped;',
  // NFS may lose the answer of a rename that has succeeded: so the file under the final name decides.
  'if used; then fail used; fi;',
  'if [ "$force" = 1 ]; then mv -f "$t" "$f" || is "$f" || fail publish;',
  'elif ln "$t" "$f" 2>/dev/null || is "$f"; then rm -f "$t";',
  'elif there; then fail exists;',
  'else mv -n "$t" "$f" 2>/dev/null || there || mv -f "$t" "$f"; if is "$f"; then :; elif there; then fail exists; else fail publish; fi; fi;',
  'sync "$d" 2>/dev/null || sync;',
  'say done',
]

/** Says the size of a regular file, then gives its bytes. */
const READ = [
  ...READ_WORDS,
  'if [ -f "$f" ]; then size=$(ls -lnL "$f") && set -- $size && say ready "$5"; else say ready; fi;',
  'exec cat <"$f"',
]

export const writeCommand = `exec sh -c '${WRITE.join(' ')}'`
export const readCommand = `exec sh -c '${READ.join(' ')}'`

/** A line of parameters, for `name` in the scripts. */
export function encodeWord(word: Uint8Array): string {
  let line = ''
  for (const byte of word) {
    const char = String.fromCharCode(byte)
    line += /[A-Za-z0-9._/-]/.test(char) ? char : `\\0${byte.toString(8).padStart(3, '0')}`
  }
  return `${line}\n`
}
