// A vCenter, or with -esx a single ESXi host, for the tests: govmomi's simulator.
// It prints its URL, and ends when its standard input does. User "user", password "pass".
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"

	"github.com/vmware/govmomi/simulator"
)

func main() {
	esx := flag.Bool("esx", false, "be an ESXi host")
	datacenters := flag.Int("datacenters", 1, "how many datacenters")
	flag.Parse()

	model := simulator.VPX()
	if *esx {
		model = simulator.ESX()
	} else {
		model.Datacenter = *datacenters
		model.OpaqueNetwork = 1
	}
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword("user", "pass")}
	model.Service.RegisterEndpoints = true
	server := model.Service.NewServer()
	fmt.Printf("http://%s\n", server.URL.Host)
	_, _ = io.Copy(io.Discard, os.Stdin)
	server.Close()
	model.Remove()
}
