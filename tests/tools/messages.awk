# messages.awk: which messages of the sources has no test seen?
#
#   awk -f messages.awk FILE.c .. -- TEXT ..
#
# In: sources with calls like diag_error(diag, span, "format", ..), and texts of tests.  Out: for each format that no
# line of any text could come from, one line "file: format".  A format fits a line when its literal pieces stand in it in order.
# All literals of a conditional format count, each for itself; a format that is no literal is not seen.

function take_literal(s, at,    c, out) {          # the literal that starts at `at`; sets after_literal
	out = ""
	for (at++; at <= length(s); at++) {
		c = substr(s, at, 1)
		if (c == "\\") { out = out c substr(s, ++at, 1); continue }
		if (c == "\"") break
		out = out c
	}
	after_literal = at + 1
	return out
}

function add_format(file, text) {
	gsub(/\\"/, "\"", text)
	gsub(/\\\\/, "\\", text)
	if (text == "" || (file, text) in seen) return
	seen[file, text] = 1
	formats[++nformats] = text
	where[nformats] = file
}

function read_call(file, s, at, wanted,    depth, argument, c, literal, fresh) {
	depth = 1; argument = 0; literal = ""; fresh = 0
	while (at <= length(s) && depth > 0) {
		c = substr(s, at, 1)
		if (c == "\"") {
			c = take_literal(s, at)
			at = after_literal
			if (argument == wanted) { literal = fresh ? literal c : c; fresh = 1 }
			continue
		}
		if (c == "(" || c == "{" || c == "[") depth++
		else if (c == ")" || c == "}" || c == "]") depth--
		else if (c == "," && depth == 1) argument++
		if (c !~ /[ \t]/ && fresh) { add_format(file, literal); fresh = 0 }
		at++
	}
}

function scan(file, s,    at, name, start) {
	gsub(/" *PRI[a-zA-Z0-9]+ *"/, "lld", s)
	gsub(/" *PRI[a-zA-Z0-9]+/, "lld\"", s)
	at = 1
	while (match(substr(s, at), /(diag|elab)_(error|warning|note|help)[ ]*\(/)) {
		start = at + RSTART - 1
		name = substr(s, start, RLENGTH)
		at = start + RLENGTH
		read_call(file, substr(s, at, 4000), 1, name ~ /help/ ? 1 : 2)
	}
}

# Does the format fit the line?
function fits(format, line,    n, i, at, piece, pieces) {
	gsub(/%%/, "\001", format)
	n = split(format, pieces, /%[-+ #0]*[0-9*]*(\.[0-9*]+)?(hh|h|ll|l|z|j|t)?[a-zA-Z]/)
	for (i = 1; i <= n; i++) {
		piece = pieces[i]
		gsub(/\001/, "%", piece)
		if (piece == "") continue
		at = index(line, piece)
		if (!at) return 0
		line = substr(line, at + length(piece))
	}
	return 1
}

FNR == 1 && whole != "" { scan(last, whole); whole = "" }
FILENAME ~ /\.[ch]$/ && !texts { last = FILENAME; sub(/^[ \t]+/, ""); if ($0 !~ /^(\/\/|\*|\/\*)/) whole = whole " " $0; next }
FNR == 1 && !texts { texts = 1 }
FILENAME ~ /unit/ { gsub(/\\"/, "\"") }     # C sources
{ lines[++nlines] = $0 }

END {
	if (whole != "") scan(last, whole)
	for (i = 1; i <= nformats; i++) {
		# the longest piece first: most lines lack it
		n = split(formats[i], pieces, /%[-+ #0]*[0-9*]*(\.[0-9*]+)?(hh|h|ll|l|z|j|t)?[a-zA-Z]/)
		long = ""
		for (k = 1; k <= n; k++) if (length(pieces[k]) > length(long) && pieces[k] !~ /%/) long = pieces[k]
		found = 0
		for (k = 1; k <= nlines && !found; k++) if (index(lines[k], long) && fits(formats[i], lines[k])) found = 1
		if (!found) { file = where[i]; sub(/^.*\/(compiler|grammar|runtime)\//, "", file); print file ": " formats[i] }
	}
	print nformats " formats" > "/dev/stderr"
}
