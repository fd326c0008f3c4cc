package postgres

// SpanName is what a statement's span is called.
var SpanName = spanName
