@_exported public import DMAPool
@_exported public import PCI
