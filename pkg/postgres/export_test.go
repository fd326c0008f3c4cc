package postgres

var (
	// SpanName is what a statement's span is called.
	SpanName = spanName
	// OpenBy is Open with a way of its own to the server.
	OpenBy = open
	// NewAloneBy is NewAlone with a way of its own to the server.
	NewAloneBy = newAlone
)
