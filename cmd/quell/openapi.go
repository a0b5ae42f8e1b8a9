package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"quell/apiserver"
)

// openapiCommand prints what an API server has at /openapi.json. It is for
// the build: the page's types are generated from it.
func openapiCommand() *cli.Command {
	return &cli.Command{
		Name: "openapi", Usage: "print the OpenAPI document of the API", Hidden: true, OnUsageError: wrongUsage,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageError{fmt.Errorf("quell openapi takes no arguments")}
			}
			text, err := apiserver.OpenAPI()
			if err != nil {
				return err
			}
			_, err = c.App.Writer.Write(text)
			return err
		},
	}
}
