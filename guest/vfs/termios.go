package vfs

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Termios is struct termios as TCGETS has it (asm-generic/termbits.h).
type Termios struct {
	Iflag, Oflag, Cflag, Lflag uint32
	Line                       uint8
	Cc                         [19]uint8
}

// termiosSize is that of the struct, termios2Size of the one with speeds.
const (
	termiosSize  = 36
	termios2Size = 44
	winsizeSize  = 8
)

// newTermios is what a pseudo-terminal begins with (tty_std_termios in
// drivers/tty/tty_io.c, drivers/tty/pty.c).
func newTermios() Termios {
	t := Termios{
		Iflag: unix.ICRNL | unix.IXON,
		Oflag: unix.OPOST | unix.ONLCR,
		Cflag: unix.B38400 | unix.CS8 | unix.CREAD,
		Lflag: unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK |
			unix.ECHOCTL | unix.ECHOKE | unix.IEXTEN,
	}
	for i, c := range map[int]uint8{
		unix.VINTR: 'C', unix.VQUIT: '\\', unix.VKILL: 'U', unix.VEOF: 'D', unix.VSTART: 'Q', unix.VSTOP: 'S',
		unix.VSUSP: 'Z', unix.VREPRINT: 'R', unix.VDISCARD: 'O', unix.VWERASE: 'W', unix.VLNEXT: 'V',
	} {
		t.Cc[i] = c & 0x1f
	}
	t.Cc[unix.VERASE] = 0x7f
	t.Cc[unix.VMIN] = 1
	return t
}

func (t *Termios) put(b []byte) {
	for i, v := range []uint32{t.Iflag, t.Oflag, t.Cflag, t.Lflag} {
		binary.NativeEndian.PutUint32(b[4*i:], v)
	}
	b[16] = t.Line
	copy(b[17:termiosSize], t.Cc[:])
	if len(b) >= termios2Size {
		const speed = 38400
		binary.NativeEndian.PutUint32(b[36:], speed)
		binary.NativeEndian.PutUint32(b[40:], speed)
	}
}

func (t *Termios) get(b []byte) {
	for i, v := range []*uint32{&t.Iflag, &t.Oflag, &t.Cflag, &t.Lflag} {
		*v = binary.NativeEndian.Uint32(b[4*i:])
	}
	t.Line = b[16]
	copy(t.Cc[:], b[17:termiosSize])
}

// is says that c is the control character of an index, which 0 turns off.
func (t *Termios) is(index int, c byte) bool { return t.Cc[index] == c && c != 0 }

func (t *Termios) local(flag uint32) bool  { return t.Lflag&flag != 0 }
func (t *Termios) input(flag uint32) bool  { return t.Iflag&flag != 0 }
func (t *Termios) output(flag uint32) bool { return t.Oflag&flag != 0 }
