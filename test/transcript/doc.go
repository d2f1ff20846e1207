// Package transcript plays protocol dialogues against a server under test. A
// dialogue is a text file of which the first line names the clause it holds
// the server to:
//
//	# RFC 1939 section 7: TOP sends the header, the blank line and n lines.
//	S: +OK <*> ready
//	C: USER alice@me.com
//	S: +OK<*>
//	C| PASS secret
//	C: STAT
//	S~ \+OK maildrop has \d+ messages.*
//	S: +OK 2 320
//	C: QUIT
//	S: +OK<*>
//	(closed)
//
// What each line does, by how it begins:
//
//	C: text     sends text and CRLF
//	C| text     holds text and CRLF back: it goes out in one write together
//	            with the next C: or C- line (pipelining)
//	C- text     sends text without CRLF
//	S: text     the next line from the server must be text; <*> in it stands
//	            for any characters, also none
//	S~ regexp   the next line from the server must match the whole regexp
//	(starttls)  makes the TLS handshake; an octet that the server sent before
//	            it and that no line has taken is a failure
//	(closed)    the server must end the connection now, without another octet
//	(close)     the client ends the connection here
//	#           a comment, as is an empty line
//
// The single space after the mark belongs to the mark. Texts may hold the
// escapes of a Go string: \r \n \t \\ \x00 \u00e9. Lines from the server are
// compared without their CRLF; a line that ends in a bare LF fails.
//
// What always holds: each step has a deadline, so a dialogue ends also when
// the server says nothing.
package transcript
