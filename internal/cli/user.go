package cli

import (
	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
)

func (a *app) userCmd() *cobra.Command {
	return parent("user", "List, create and change users", a.userListCmd(), a.userShowCmd(), a.userSetCmd())
}

func (a *app) userListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the users",
		Example: "  slipway user list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			users, err := client.All(c.Users(cmd.Context()))
			if err != nil {
				return err
			}
			return a.print(users, func() *table {
				t := newTable("name", "role", "state", "full name", "email", "age")
				for _, u := range users {
					t.add(u.Name, u.Role, userState(u), u.FullName, u.Email, u.Created)
				}
				return t
			})
		},
	}
}

func (a *app) userShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a user",
		Example: "  slipway user show ada",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			u, err := c.User(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printUser(u)
		},
	}
}

func (a *app) printUser(u client.User) error {
	return a.print(u, func() *table {
		return fields("name", u.Name, "role", u.Role, "state", userState(u), "full name", u.FullName, "email", u.Email, "created", u.Created)
	})
}

func userState(u client.User) string {
	if u.Disabled {
		return "disabled"
	}
	return "enabled"
}

func (a *app) userSetCmd() *cobra.Command {
	var role, fullName, email string
	var disable, enable bool
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Create a user, or change one",
		Long:  "What is not given stays as it is; a new user needs --role.",
		Example: `  slipway user set ada --role developer --email ada@example.org
  slipway user set ada --role gatekeeper
  slipway user set ada --disable`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			u, err := c.User(cmd.Context(), args[0])
			if slipway.Is(err, slipway.NotFound) {
				if role == "" {
					return slipway.Errorf(slipway.Invalid, "there is no user %s yet, and a new one needs a role", args[0]).At("--role").
						Try("give --role viewer, developer, gatekeeper, operator, admin or worker")
				}
				u = client.User{Name: args[0]}
			} else if err != nil {
				return err
			}
			if role != "" {
				if u.Role, err = auth.ParseRole(role); err != nil {
					return err
				}
			}
			if cmd.Flags().Changed("full-name") {
				u.FullName = fullName
			}
			if cmd.Flags().Changed("email") {
				u.Email = email
			}
			u.Disabled = (u.Disabled || disable) && !enable
			if u, err = c.PutUser(cmd.Context(), u); err != nil {
				return err
			}
			return a.printUser(u)
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "viewer, developer, gatekeeper, operator or admin; or worker, which may run builds for the farm and nothing else")
	cmd.Flags().StringVar(&fullName, "full-name", "", "the person's name")
	cmd.Flags().StringVar(&email, "email", "", "mail address")
	cmd.Flags().BoolVar(&disable, "disable", false, "refuse the user's tokens and sessions")
	cmd.Flags().BoolVar(&enable, "enable", false, "accept them again")
	cmd.MarkFlagsMutuallyExclusive("disable", "enable")
	return cmd
}
