module ferry.example/harbour

go 1.26
