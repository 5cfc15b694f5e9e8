# What the program uses of pulumi-azure-native, a line each, for the type checker alone. The packages from
# which Python has it import thousands of modules, which takes the checker longer than all else does.
