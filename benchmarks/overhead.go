// What cryptography costs, in nanoseconds of processor time for each operation. Prints one JSON object.
//
// usage: overhead SECONDS, for each operation
package main

// static void nothing(void) {}
import "C"

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// processor returns the time that all threads of this process have run, the kernel's work for them included.
func processor() time.Duration {
	var used syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// measure repeats what do does, often enough to last, and returns nanoseconds for each time.
func measure(lasting time.Duration, do func(times int)) float64 {
	do(1)
	for times := 1; ; times *= 2 {
		started := processor()
		do(times)
		if used := processor() - started; used >= lasting {
			return float64(used.Nanoseconds()) / float64(times)
		}
	}
}

func block(times int) {
	encrypting, err := aes.NewCipher(make([]byte, 16))
	check(err)
	data := make([]byte, 16)
	for ; times > 0; times-- {
		encrypting.Encrypt(data, data)
	}
}

func call(times int) {
	for ; times > 0; times-- {
		C.nothing()
	}
}

func seal(size int) func(int) {
	return func(times int) {
		encrypting, err := aes.NewCipher(make([]byte, 32))
		check(err)
		gcm, err := cipher.NewGCM(encrypting)
		check(err)
		nonce, data, sealed := make([]byte, 12), make([]byte, size), make([]byte, 0, size+16)
		for ; times > 0; times-- {
			sealed = gcm.Seal(sealed[:0], nonce, data, nil)
		}
	}
}

func hash(size int) func(int) {
	return func(times int) {
		data := make([]byte, size)
		for ; times > 0; times-- {
			sha256.Sum256(data)
		}
	}
}

// handshakes returns a function that connects client and server anew each time, with the suite that the documentation of
// the FIPS builds prefers.
func handshakes() func(int) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(err)
	named := x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "overhead"},
		DNSNames:     []string{"overhead"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &named, &named, &key.PublicKey, key)
	check(err)
	certificate, err := x509.ParseCertificate(der)
	check(err)
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	settings := tls.Config{
		Certificates:           []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:                roots,
		ServerName:             "overhead",
		MinVersion:             tls.VersionTLS12,
		MaxVersion:             tls.VersionTLS12,
		CipherSuites:           []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384},
		CurvePreferences:       []tls.CurveID{tls.CurveP256},
		SessionTicketsDisabled: true,
	}
	return func(times int) {
		for ; times > 0; times-- {
			ours, theirs := net.Pipe()
			served := make(chan error, 1)
			go func() {
				served <- tls.Server(theirs, &settings).Handshake()
			}()
			client := tls.Client(ours, &settings)
			check(client.Handshake())
			check(<-served)
			if client.ConnectionState().CipherSuite != tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 {
				check(fmt.Errorf("another cipher suite was agreed on"))
			}
			ours.Close()
			theirs.Close()
		}
	}
}

func main() {
	seconds, err := strconv.ParseFloat(os.Args[1], 64)
	check(err)
	lasting := time.Duration(seconds * float64(time.Second))
	found := map[string]float64{
		"call":      measure(lasting, call),
		"block":     measure(lasting, block),
		"handshake": measure(lasting, handshakes()),
		"hash 1024": measure(lasting, hash(1024)),
	}
	for _, size := range []int{16, 256, 1024, 8192, 16384} {
		found[fmt.Sprintf("seal %d", size)] = measure(lasting, seal(size))
	}
	var printed bytes.Buffer
	check(json.NewEncoder(&printed).Encode(found))
	os.Stdout.Write(printed.Bytes())
}
