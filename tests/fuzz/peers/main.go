// Peers reads archives with Go's standard library, as a second opinion on this package's own readers.
//
// "serve" reads requests from stdin (a line "FORMAT SIZE", then that many bytes) and answers each with one line of JSON:
// the SHA-256 of every file by name, or {"error": ...}. "write" writes a ZIP archive as Go's writer makes it.
package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

type file struct {
	Name string `json:"name"`
	Sum  string `json:"sum"`
}

func sum(r io.Reader) (string, error) {
	h := sha256.New()
	_, err := io.Copy(h, io.LimitReader(r, 64<<20))
	return hex.EncodeToString(h.Sum(nil)), err
}

func readZip(data []byte) ([]file, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	found := []file{}
	for _, f := range z.File {
		if f.FileInfo().IsDir() {
			continue
		}
		r, err := f.Open()
		if err != nil {
			continue
		}
		if s, err := sum(r); err == nil {
			found = append(found, file{f.Name, s})
		}
	}
	return found, nil
}

func readStream(r io.Reader, err error) ([]file, error) {
	if err != nil {
		return nil, err
	}
	s, err := sum(r)
	if err != nil {
		return nil, err
	}
	return []file{{"", s}}, nil
}

func serve() {
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		var format string
		var size int
		if _, err := fmt.Fscanf(in, "%s %d\n", &format, &size); err != nil {
			return
		}
		data := make([]byte, size)
		if _, err := io.ReadFull(in, data); err != nil {
			return
		}
		var found []file
		var err error
		switch format {
		case "zip":
			found, err = readZip(data)
		case "gzip":
			found, err = readStream(gzip.NewReader(bytes.NewReader(data)))
		case "bzip2":
			found, err = readStream(bzip2.NewReader(bytes.NewReader(data)), nil)
		}
		if err != nil {
			out.Encode(map[string]string{"error": err.Error()})
		} else {
			out.Encode(map[string][]file{"files": found})
		}
	}
}

func write() {
	z := zip.NewWriter(os.Stdout)
	for _, part := range []struct {
		name    string
		content []byte
		method  uint16
	}{{"deflated", bytes.Repeat([]byte("deflated"), 1000), zip.Deflate}, {"stored", []byte("stored"), zip.Store}} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: part.name, Method: part.method})
		if err != nil {
			panic(err)
		}
		w.Write(part.content)
	}
	z.Close()
}

func main() {
	if os.Args[1] == "write" {
		write()
		return
	}
	serve()
}
