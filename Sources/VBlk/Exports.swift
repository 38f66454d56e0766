// The front door: one import gives the driver, the emulator, and what both stand on.
@_exported public import VBlkDriver
@_exported public import VBlkEmu
