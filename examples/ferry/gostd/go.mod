module ferry.example/gostd

go 1.26
