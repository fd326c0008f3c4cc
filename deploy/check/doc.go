// Package check holds the files of this folder's neighbours against the program: the compose files, the image, the gateway. It is tests
// only.
package check
