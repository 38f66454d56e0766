#!/usr/bin/perl
# plant.pl FOLDER TREE: plants every bug of FOLDER/*.mutants in the copy of the sources at TREE, each
# behind the number that VBLK_MUTANT chooses at run time, and prints number, suites and name of each.
# A bug whose place is not found exactly once is an error: the code has moved on, and so must it.
use strict;
use warnings;

my ($folder, $tree) = @ARGV;
my (@mutants, $mutant);
for my $path (sort glob "$folder/*.mutants") {
  open my $in, '<', $path or die "$path: $!";
  while (my $line = <$in>) {
    chomp $line;
    next if $line =~ /^(#|\s*$)/;
    if ($line =~ /^mutant (.+)/) { push @mutants, $mutant = {name => $1, from => [], to => []} }
    elsif ($line =~ /^file (.+)/) { $mutant->{file} = $1 }
    elsif ($line =~ /^by (.+)/) { $mutant->{by} = $1 }
    # A bar stands where the line begins: what follows it has its own indentation.
    elsif ($line =~ /^- \|?(.*)/) { push @{$mutant->{from}}, $1 }
    elsif ($line =~ /^\+ \|?(.*)/) { push @{$mutant->{to}}, $1 }
    else { die "$path: $line" }
  }
}
my %text;
my $number = 0;
for my $mutant (@mutants) {
  my ($name, $file) = @$mutant{qw(name file)};
  $number++;
  unless (exists $text{$file}) {
    open my $in, '<', "$tree/$file" or die "$name: $file: $!";
    local $/;
    $text{$file} = <$in>;
  }
  my $from = join "\n", @{$mutant->{from}};
  my $to = join "\n", @{$mutant->{to}};
  die "$name: plants nothing\n" unless $to =~ s/PLANTED/chio_planted($number)/g;
  my $count = () = $text{$file} =~ /\Q$from\E/g;
  die "$name: its place is found $count times in $file:\n$from\n" if $count != 1;
  $text{$file} =~ s/\Q$from\E/$to/;
  print join("\t", $number, $mutant->{by}, $name), "\n";
}
for my $file (keys %text) {
  $text{$file} =~ s/^(public |internal )?import CHostIO\n//mg;
  open my $out, '>', "$tree/$file" or die "$file: $!";
  print $out "public import CHostIO\n", $text{$file};
}
