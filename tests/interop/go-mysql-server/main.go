// A server of go-mysql-server, in memory: main DATABASE PORT.
package main

import (
	"log"
	"os"

	sqle "github.com/dolthub/go-mysql-server"
	"github.com/dolthub/go-mysql-server/memory"
	"github.com/dolthub/go-mysql-server/server"
)

func main() {
	db := memory.NewDatabase(os.Args[1])
	db.EnablePrimaryKeyIndexes()
	engine := sqle.NewDefault(memory.NewDBProvider(db))
	config := server.Config{Protocol: "tcp", Address: "127.0.0.1:" + os.Args[2]}
	s, err := server.NewDefaultServer(config, engine)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(s.Start())
}
