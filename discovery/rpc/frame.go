package rpc

import (
	"encoding/binary"
	"fmt"
)

// Types of frames (RFC 9113 §6).
const (
	dataFrame         = 0x0
	headersFrame      = 0x1
	resetFrame        = 0x3
	settingsFrame     = 0x4
	pushFrame         = 0x5
	pingFrame         = 0x6
	goAwayFrame       = 0x7
	windowFrame       = 0x8
	continuationFrame = 0x9
)

// Flags of frames. endStream is of DATA and HEADERS, ack of SETTINGS and PING.
const (
	endStream  = 0x1
	ack        = 0x1
	endHeaders = 0x4
	padded     = 0x8
	priority   = 0x20
)

// Settings that this package sends or heeds.
const (
	settingTableSize      = 0x1
	settingPush           = 0x2
	settingStreams        = 0x3
	settingWindow         = 0x4
	settingFrameSize      = 0x5
	settingHeaderListSize = 0x6
)

const (
	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

	frameHeaderSize = 9
	maxFrame        = 16 << 10 // of a payload, both ways: what every server takes
	defaultWindow   = 64<<10 - 1
	maxWindow       = 1<<31 - 1
)

// frame is the header of a frame.
type frame struct {
	size   int // of the payload
	kind   byte
	flags  byte
	stream uint32
}

func (f frame) has(flag byte) bool { return f.flags&flag != 0 }

// parseFrame parses the header of a frame.
func parseFrame(b []byte) frame {
	return frame{
		size: int(b[0])<<16 | int(b[1])<<8 | int(b[2]), kind: b[3], flags: b[4],
		stream: binary.BigEndian.Uint32(b[5:]) &^ (1 << 31),
	}
}

// appendFrame appends the header of a frame, whose payload comes after it.
func appendFrame(b []byte, f frame) []byte {
	b = append(b, byte(f.size>>16), byte(f.size>>8), byte(f.size), f.kind, f.flags)
	return binary.BigEndian.AppendUint32(b, f.stream)
}

// appendWord appends a frame whose payload is one number.
func appendWord(b []byte, kind byte, stream, word uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(b, frame{4, kind, 0, stream}), word)
}

func appendPing(b []byte, flags byte, data [8]byte) []byte {
	return append(appendFrame(b, frame{len(data), pingFrame, flags, 0}), data[:]...)
}

func appendGoAway(b []byte, code errorCode) []byte {
	b = binary.BigEndian.AppendUint32(appendFrame(b, frame{8, goAwayFrame, 0, 0}), 0) // no stream of the server's
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

// appendStart appends what a client says first: its settings, and the window of the
// connection.
func appendStart(b []byte) []byte {
	settings := [...]struct {
		id    uint16
		value uint32
	}{{settingPush, 0}, {settingWindow, streamBuffer}, {settingHeaderListSize, maxHeaderSize}}
	b = appendFrame(append(b, preface...), frame{6 * len(settings), settingsFrame, 0, 0})
	for _, s := range settings {
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, s.id), s.value)
	}
	return appendWord(b, windowFrame, 0, connectionBuffer-defaultWindow)
}

// errorCode is why a stream or a connection ends (RFC 9113 §7).
type errorCode uint32

const (
	noError          errorCode = 0x0
	protocolError    errorCode = 0x1
	flowControlError errorCode = 0x3
	frameSizeError   errorCode = 0x6
	cancelled        errorCode = 0x8
	compressionError errorCode = 0x9
	enhanceYourCalm  errorCode = 0xb
)

var errorNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
	"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

func (c errorCode) String() string {
	if c < errorCode(len(errorNames)) {
		return errorNames[c]
	}
	return fmt.Sprintf("error %#x", uint32(c))
}

// violation is what a server did against the protocol. It ends the connection, or the
// stream if one is named.
type violation struct {
	code   errorCode
	stream uint32
	what   string
}

func (v *violation) Error() string { return fmt.Sprintf("%v: the server sent %s", v.code, v.what) }

// goAway is why a server takes no more calls on a connection.
type goAway struct {
	code  errorCode
	debug string
}

func (g *goAway) Error() string {
	text := "the server ends the connection: " + g.code.String()
	if g.debug != "" {
		text += fmt.Sprintf(" (%.200q)", g.debug)
	}
	return text
}
