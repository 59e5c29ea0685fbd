module ferry.example/ticket

go 1.26
