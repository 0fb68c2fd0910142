// A call and a chunked upload with Go's net/http and the proxy of the environment. Argument: the origin.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	url := os.Args[1] + "/echo"
	answer, err := http.Get(url)
	said := read(answer, err)
	fmt.Println("GET", answer.StatusCode, answer.Proto, said)
	if answer.StatusCode != 200 {
		os.Exit(1)
	}
	// A reader whose length net/http cannot know.
	body := io.MultiReader(strings.NewReader(strings.Repeat("x", 300000)))
	answer, err = http.Post(url, "text/plain", body)
	var seen struct {
		Framing string
		Length  int
	}
	if err := json.Unmarshal([]byte(read(answer, err)), &seen); err != nil {
		fail(err)
	}
	fmt.Println("POST", answer.StatusCode, seen.Framing, seen.Length)
}

func read(answer *http.Response, err error) string {
	if err != nil {
		fail(err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err != nil {
		fail(err)
	}
	return string(said)
}

func fail(err error) {
	fmt.Println(err)
	os.Exit(1)
}
